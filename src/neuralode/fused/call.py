"""The record that a compiled solve is called with: ``struct Call`` of ``cpp/forward.hpp``."""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

WHOLE = (
    "samples", "outputs", "time_row", "time_column", "grid_steps", "grid_row", "grid_column", "max_steps", "threads",
    "memory", "knots",
)  # fmt: skip
REAL = ("rtol", "atol", "first_step", "min_step", "max_step", "k", "safety", "smallest", "largest")
POINTERS = (
    "t0", "t1", "sign", "times", "grid", "y0", "args", "shared", "ys", "y1", "t", "h", "knot_t", "knot_h", "knot_y",
    "knot_k", "status", "accepted", "rejected", "nfev", "before", "worst", "evaluations", "tapes",
)  # fmt: skip


class Record(ctypes.Structure):
    """A C++ struct that keeps the tensors which it points to alive."""

    def point(self, **tensors: Tensor) -> None:
        """Set pointers to contiguous tensors."""
        for name, tensor in tensors.items():
            setattr(self, name, tensor.data_ptr())
        self.keep(*tensors.values())

    def keep(self, *things: Any) -> None:
        """Hold on to what the struct points into."""
        self.__dict__.setdefault("kept", []).extend(things)

    def arrays(self, kind: Any, **values: Sequence[Any]) -> None:
        """Set pointers to arrays of a C type."""
        for name, row in values.items():
            array = array_of(kind, len(row))(*row)
            setattr(self, name, ctypes.addressof(array))
            self.keep(array)

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Set the pointers to what all samples share."""
        table = pointers(tensors)
        self.keep(table, tensors)
        self.shared = ctypes.addressof(table)


class Call(Record):
    """The fields of ``struct Call``: once as a template, what solves have in common, and a copy for each solve."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in WHOLE),
        *((name, ctypes.c_double) for name in REAL),
        ("exponent", ctypes.c_double * 3),
        *((name, ctypes.c_void_p) for name in POINTERS),
    )

    def copy(self) -> "Call":
        """The same settings, for a solve of its own."""
        found = Call.from_buffer_copy(self)
        found.keep(self)
        return found


def pointers(tensors: Sequence[Tensor]) -> Any:
    """A C array of addresses."""
    return array_of(ctypes.c_void_p, max(1, len(tensors)))(*[tensor.data_ptr() for tensor in tensors])


@lru_cache(maxsize=64)
def array_of(kind: Any, size: int) -> Any:
    """The type of a C array; to make one takes longer than many a solve."""
    return kind * size


def address(call: ctypes.Structure) -> Any:
    """What a compiled function takes."""
    return ctypes.byref(call)


def flat_rows(tensors: Sequence[Tensor], samples: int) -> Tensor:
    """Per-sample arguments side by side, (B, A) in memory."""
    if len(tensors) == 1:
        return tensors[0].contiguous()
    return torch.cat([tensor.detach().reshape(samples, -1) for tensor in tensors], 1).contiguous()
