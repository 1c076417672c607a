"""The record that a compiled solve is called with: ``struct Call`` of ``cpp/forward.hpp``."""

import ctypes
from collections.abc import Sequence
from typing import Any

from torch import Tensor

WHOLE = (
    "samples", "outputs", "time_row", "time_column", "grid_steps", "grid_row", "grid_column", "max_steps", "threads",
    "memory",
)  # fmt: skip
REAL = ("rtol", "atol", "first_step", "min_step", "max_step", "k", "safety", "smallest", "largest")
POINTERS = (
    "t0", "t1", "sign", "times", "grid", "y0", "args", "shared", "ys", "y1", "t", "h", "status", "accepted", "rejected",
    "nfev", "before", "worst", "tapes",
)  # fmt: skip


class Record(ctypes.Structure):
    """A C++ struct that keeps the tensors which it points to alive."""

    def point(self, **tensors: Tensor) -> None:
        """Set pointers to contiguous tensors."""
        kept = self.__dict__.setdefault("kept", [])
        for name, tensor in tensors.items():
            setattr(self, name, tensor.data_ptr())
            kept.append(tensor)

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Set the pointers to what all samples share."""
        table = pointers(tensors)
        self.__dict__.setdefault("kept", []).extend((table, tensors))
        self.shared = ctypes.addressof(table)


class Call(Record):
    """The fields of ``struct Call``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in WHOLE),
        *((name, ctypes.c_double) for name in REAL),
        ("exponent", ctypes.c_double * 3),
        *((name, ctypes.c_void_p) for name in POINTERS),
    )


def pointers(tensors: Sequence[Tensor]) -> Any:
    """A C array of addresses."""
    return (ctypes.c_void_p * max(1, len(tensors)))(*(tensor.data_ptr() for tensor in tensors))


def address(call: ctypes.Structure) -> Any:
    """What a compiled function takes."""
    return ctypes.byref(call)
