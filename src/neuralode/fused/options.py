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
        memory: bytes that a solve with gradients may keep of its steps. A trial step of a sample takes 16 bytes and its
            state, for methods that hand on their last stage (dopri5, tsit5) twice: 32 bytes for two float32 numbers.
            A solve with more keeps the states of every second step alone, or fourth, ..., down to the square root of
            their number, and computes the others anew, a stretch at a time: the same gradients bit for bit, for one
            more solve.
    """

    fallback: bool = False
    check: bool = True
    memory: int = 2**31

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise ValueError(f"memory must be a number of bytes, got {self.memory}")
