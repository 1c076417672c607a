"""The solution as a function of time: the piecewise polynomial through the kept steps."""

from dataclasses import dataclass
from functools import cached_property
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
        if self.batched and (times.dim() == 0 or times.shape[-1] != self.knots.t.shape[1]):
            times = times[..., None].expand(*times.shape, self.knots.t.shape[1])
        self._check(times)
        return self.at(times)

    def at(self, times: Tensor) -> Tensor:
        """The same for float64 times S, or (*S, B), that are known to lie inside, up to rounding."""
        if not self.batched:
            at = self._step_of(times.reshape(-1, 1))[:, 0]
            return self._evaluate((at,), times.reshape(-1)).reshape(*times.shape, *self.knots.y.shape[1:])
        table = times.reshape(-1, times.shape[-1])
        at = self._step_of(table)
        column = torch.arange(times.shape[-1], device=times.device).expand_as(at)
        found = self._evaluate((at.reshape(-1), column.reshape(-1)), table.reshape(-1))
        return found.reshape(*times.shape, *self.knots.y.shape[2:])

    def in_every_step(self, theta: float) -> tuple[Tensor, Tensor]:
        """(times (N,) or (N, B), states there) at one place of every step."""
        k, h = self.knots, self.knots.h.reshape(-1)
        y, *stages = (part.flatten(0, k.h.dim() - 1) for part in (k.y, *k.stages))
        return k.t + theta * k.h, self.dense(torch.full_like(h, theta), h, y, stages).reshape(k.y.shape)

    def of_samples(self, keep: Tensor, samples: int) -> "DenseOutput":
        """Some of the samples."""
        k = self.knots
        t, h, y, *stages = (part[:, keep] for part in (k.t, k.h, k.y, *k.stages))
        t0, t1, sign = (end[keep] for end in (self.t0, self.t1, self.sign))
        return DenseOutput(Knots(t, h, y, tuple(stages)), self.dense, t0, t1, sign, batched=True)

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

    @cached_property
    def _starts(self) -> Tensor:
        """Where the steps start, in the direction of time, (B, N), or (1, N); infinity for those of no length."""
        k = self.knots
        keys = torch.where(k.h == 0, torch.inf, k.t * self.sign)
        return keys.reshape(len(k.t), -1).T.contiguous()

    def _step_of(self, times: Tensor) -> Tensor:
        """Index of the step that holds each time, (M, B) or (M, 1)."""
        places = (times.detach() * self.sign).T.contiguous()
        found = torch.searchsorted(self._starts, places, right=True) - 1
        return found.T.clamp(min=0)

    def _evaluate(self, at: tuple[Tensor, ...], times: Tensor) -> Tensor:
        h = self.knots.h[at]
        theta = torch.where(h == 0, 0.0, (times - self.knots.t[at]) / torch.where(h == 0, 1.0, h))
        return self.dense(theta, h, self.knots.y[at], [k[at] for k in self.knots.stages])
