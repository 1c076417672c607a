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
        memory: bytes that a solve with gradients may keep of its steps. A trial step of a sample takes 16 bytes and its
            state, for methods that hand on their last stage (dopri5, tsit5) twice: 32 bytes for two float32 numbers.
            Where f takes long for them, intermediate values of f are kept too, up to 128 MiB a solve, and spare the
            reverse sweep an evaluation. A solve with more lets these go and keeps the states of every second step
            alone, or fourth, ..., down to the square root of their number, and computes the others anew, a stretch at
            a time: the same gradients bit for bit, for one more solve.

    Raises:
        ValueError: another ``check``, or a negative ``memory``.
    """

    fallback: bool = False
    check: bool | str = True
    by_width: bool = False
    memory: int = 2**31

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise ValueError(f"check: got {self.check!r}, takes True, False or 'always'")
        if self.memory < 0:
            raise ValueError(f"memory must be a number of bytes, got {self.memory}")
