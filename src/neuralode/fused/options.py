"""The options of ``backend="fused"``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fused:
    """The whole solve as compiled C++, a SIMD lane for each sample; CPU only.

    Args:
        fallback: solve with the eager backend what cannot be fused, and say so in ``solution.report``; False: raise
            an error that names the operation.
        check: at every solve compare the compiled f with f at t0, for up to three samples: a change of anything that f
            closes over which is not a tensor is seen, and f is compiled anew. False: f never changes but in the values
            of its tensors; saves one call of f.
    """

    fallback: bool = False
    check: bool = True
