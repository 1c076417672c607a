"""What an error is measured against: rtol, atol and the norm of a solve, as one record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..ops import mapped
from .norms import MEASURES, Norm, error_ratio

# Of the rounding unit: what a Newton iteration can still resolve where no tolerance is asked for.
ROUNDING = 16.0


@dataclass(frozen=True, eq=False)
class Tolerance:
    """Error estimates in units of atol + rtol max(|y|, |y1|).

    Attributes:
        rtol, atol: floats, or tensors that broadcast to y.
        norm: of one system, scaled errors (..., n) -> (...).
        batch: as in ``solve``: one number for the whole state, or one for each sample.
        given: whether they are the user's; False: the level of rounding, for steps whose size is given.
    """

    rtol: float | Tensor
    atol: float | Tensor
    norm: Norm
    batch: str | None
    given: bool = True

    def scaled(self, error: Tensor, y: Tensor, y1: Tensor) -> Tensor:
        """The error, entry by entry, in units of the tolerance; without a gradient history."""
        if torch.is_grad_enabled():
            error, y, y1 = error.detach(), y.detach(), y1.detach()
        return error_ratio(error, y, y1, self.rtol, self.atol)

    def ratios(self, errors: Sequence[Tensor], y: Tensor, y1: Tensor) -> list[Any]:
        """``ratio`` of several errors of the same step, read from the device at once."""
        scaled = self.scaled(torch.stack(tuple(errors)), y, y1)
        measured = torch.stack([MEASURES[self.batch](self.norm, each) for each in scaled])
        return list(measured.double()) if self.batch == "independent" else measured.tolist()

    def weights(self, y: Tensor) -> Tensor:
        """atol + rtol |y|, shaped like y."""
        return y.detach().abs().mul_(self.rtol).add_(self.atol)

    def sizes(self, scaled: Tensor) -> Tensor:
        """The norm of scaled rows (R, n) without a read from the device: (1,), or (B,) per sample; float64."""
        return MEASURES[self.batch](self.norm, scaled).double().reshape(-1)

    def measure(self, scaled: Tensor) -> Any:
        """The norm of scaled errors: a float, or (B,) float64 when every sample steps by itself."""
        measured = MEASURES[self.batch](self.norm, scaled)
        return measured.double() if self.batch == "independent" else measured.item()

    def ratio(self, error: Tensor, y: Tensor, y1: Tensor) -> Any:
        """The error of a step from y to y1 relative to the tolerance; at most 1 is accepted."""
        return self.measure(self.scaled(error, y, y1))


def rounding_level(y0: Tensor, norm: Norm, batch: str | None) -> Tolerance:
    """The tolerance that stands for "as well as the dtype of y0 allows"."""
    unit = ROUNDING * torch.finfo(y0.dtype).eps
    size = float(y0.detach().abs().max()) if y0.numel() and not mapped(y0) else 1.0
    return Tolerance(unit, unit * size if size > 0 else unit, norm, batch, given=False)
