"""Powers that are the same whoever stands beside a sample."""

from typing import Any

import torch
from torch import Tensor


def power(x: Any, exponent: Any) -> Any:
    """x to a power that no sample's place in the batch changes.

    On the CPU torch takes contiguous numbers several at a time, and those left over one by one, by another routine
    whose last digit may differ; spread out in memory they all go one by one, as a Python float does.
    """
    if isinstance(x, Tensor) and x.dim() == 1 and x.device.type == "cpu":
        x = torch.stack((x, x), 1)[:, 0]
    return x**exponent
