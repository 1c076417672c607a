"""The options of ``backend="fused"``."""

from dataclasses import dataclass

CHECKS = (True, False, "always")


@dataclass(frozen=True)
class Fused:
    """The whole solve as compiled C++, a SIMD lane for each sample; CPU only.

    Args:
        fallback: solve with the eager backend what cannot be fused, and say so in ``solution.report``; False: raise
            an error that names the operation.
        check: how a change of f is seen, other than in the values of its tensors, which are read anew at every solve.
            True: every solve looks at what f reads (globals, closures, defaults, attributes, the modes and parameters
            of modules, as far as its code names them), and solves 1, 2, 4, ... 1024, then every 1024th, compare
            the compiled f with f at t0; where f reads what cannot be looked at (an array of NumPy, the clock), every
            solve compares. ``"always"``: every solve does both. False: f never changes; nothing is looked at.
        by_width: leave to the eager backend an f with matrix products so large that batched ones are faster.

    Raises:
        ValueError: another ``check``.
    """

    fallback: bool = False
    check: bool | str = True
    by_width: bool = False

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise ValueError(f"check: got {self.check!r}, takes True, False or 'always'")
