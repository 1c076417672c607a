"""One step of samples that step by themselves: as it was tried, and as the gradients replay it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..ops import merge
from .tape import Dense


class Pairs(NamedTuple):
    """Outputs as index pairs: row of t_eval, sample, and the place theta in that sample's step.

    ``place`` is the sample's row in the tensors of its step, which may hold some samples only.
    """

    time: Tensor
    sample: Tensor
    theta: Tensor
    place: Tensor


class Attempt(NamedTuple):
    """One trip of the loop: the trial step of every sample that is still stepped, and who accepted it.

    ``stages`` are what dense output needs, ``solved`` those that retaking the step needs; ``samples`` says whose each
    row is. ``y``, ``carry`` and ``stages`` are None and empty where the tape does not keep the state.
    """

    t: Tensor
    h: Tensor
    y: Tensor | None
    carry: tuple[Tensor, ...]
    stages: tuple[Tensor, ...]
    solved: tuple[Tensor, ...]
    accept: Tensor
    samples: Tensor


def read_pairs(
    dense: Dense, pairs: Pairs, inside: bool, h: Tensor, y: Tensor, y1: Tensor, stages: Sequence[Tensor]
) -> Tensor:
    """The outputs of some samples' steps, (m, ...); without one ``inside`` a step, no dense stages are needed."""
    b = pairs.place
    if not inside:
        return y1[b]
    found = dense(pairs.theta, h[b], y[b], [k[b] for k in stages])
    return merge(pairs.theta == 1.0, y1[b], found)


@dataclass(frozen=True)
class BatchRow:
    """The n-th accepted step of every sample that has one (``active``); the others stand still, h = 0."""

    t: Tensor
    h: Tensor
    y: Tensor | None
    carry: tuple[Tensor, ...]
    active: Tensor
    pairs: Pairs
    stages: tuple[Tensor, ...]

    @cached_property
    def inside(self) -> bool:
        """Whether an output lies strictly inside some sample's step."""
        return bool((self.pairs.theta != 1.0).any())

    def read(self, dense: Dense, y: Tensor, y1: Tensor, stages: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of this step, as one tensor (m, ...); nothing without any."""
        if not len(self.pairs.time):
            return []
        return [read_pairs(dense, self.pairs, self.inside, self.h, y, y1, stages)]

    def bars(self, grad_ys: Tensor) -> Sequence[Tensor]:
        """The cotangents of what ``read`` gives."""
        return [grad_ys[self.pairs.time, self.pairs.sample]] if len(self.pairs.time) else []

    def masked(self, cotangent: Tensor) -> Tensor:
        """The part of a cotangent that enters this step: that of the active samples."""
        return merge(self.active, cotangent, torch.zeros_like(cotangent))

    def merge(self, new: Tensor, old: Tensor) -> Tensor:
        """The cotangent before this step: unchanged for samples that stood still."""
        return merge(self.active, new, old)
