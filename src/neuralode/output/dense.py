"""The solution as a function of time: the piecewise polynomial through the kept steps."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .tape import Dense, Knots


@dataclass(frozen=True)
class DenseOutput:
    """sol(t) from the knots of a solve; see ``Solution.__call__``.

    Attributes:
        t0, t1: ends of what was integrated, 0-d or (B,) float64.
        batched: whether every sample has its own knots.
    """

    knots: Knots
    dense: Dense
    t0: Tensor
    t1: Tensor
    sign: Tensor
    batched: bool

    def __call__(self, t: Any) -> Tensor:
        """The states (*S, *y0.shape) at times S (or (*S, B))."""
        times = torch.as_tensor(t, dtype=torch.float64, device=self.knots.t.device)
        if not self.batched:
            self._check(times)
            at = self._step_of(self.knots.t[:, None], times.reshape(-1, 1))[:, 0]
            return self._evaluate((at,), times.reshape(-1)).reshape(*times.shape, *self.knots.y.shape[1:])
        samples = self.knots.t.shape[1]
        if times.dim() == 0 or times.shape[-1] != samples:
            times = times[..., None].expand(*times.shape, samples)
        self._check(times)
        table = times.reshape(-1, samples)
        at = self._step_of(self.knots.t, table)
        column = torch.arange(samples, device=times.device).expand_as(at)
        found = self._evaluate((at.reshape(-1), column.reshape(-1)), table.reshape(-1))
        return found.reshape(*times.shape, *self.knots.y.shape[2:])

    def _check(self, times: Tensor) -> None:
        slack = 1e-6 * (self.t1 - self.t0).abs()
        bad = (
            ((times - self.t0) * self.sign < -slack)
            | ((self.t1 - times) * self.sign < -slack)
            | times.isnan()
        )
        if bad.any():
            first = float(times.detach()[bad].reshape(-1)[0])
            raise ValueError(
                f"t = {first:.9g} lies outside what was integrated, {self.t0.tolist()} to {self.t1.tolist()}"
            )

    def _step_of(self, starts: Tensor, times: Tensor) -> Tensor:
        """Index of the step that holds each time; starts (N, B), times (M, B)."""
        keys = torch.where(
            self.knots.h.reshape(starts.shape) == 0, torch.inf, starts * self.sign
        ).T.contiguous()
        found = torch.searchsorted(keys, (times.detach() * self.sign).T.contiguous(), right=True) - 1
        return found.T.clamp(min=0)

    def _evaluate(self, at: tuple[Tensor, ...], times: Tensor) -> Tensor:
        h = self.knots.h[at]
        theta = torch.where(h == 0, 0.0, (times - self.knots.t[at]) / torch.where(h == 0, 1.0, h))
        return self.dense(theta, h, self.knots.y[at], [k[at] for k in self.knots.stages])
