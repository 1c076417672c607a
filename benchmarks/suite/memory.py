"""How far a process grows while it works."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from neuralode.fused import empty_cache

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """Bytes, by the kernel: VmRSS now, VmHWM the most since the mark was set back."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def peak(work: Callable[[], Any], device: torch.device) -> int | None:
    """Bytes that the process, or the CUDA device, holds more at the worst moment of ``work``; None where unknown.

    Counts what any library allocates. Freed memory is handed back to the system first, so that it is not taken again
    unseen; what is left of that shows as a floor of some hundred kilobytes.
    """
    gc.collect()
    empty_cache()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5")  # sets the mark back
        before = resident("VmRSS")
        work()
        return max(0, resident("VmHWM") - before)
    except (OSError, AttributeError):  # not Linux, or not glibc
        return None
