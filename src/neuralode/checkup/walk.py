"""A path walked once, and the places on it that are kept."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..stepper import Stepper

KEPT = 256  # states in memory
PROBED = 7  # of them at which difference quotients are followed


@dataclass(frozen=True)
class Place:
    """Where an accepted step began: its number, t and h float64 (R,), h zero for samples that took none."""

    number: int
    t: Tensor
    y: Tensor
    h: Tensor


def walked(stepper: Stepper) -> list[Place]:
    """Places that steps led from, every one or, of many, those with the shortest steps and every few; and the end."""
    rows = len(stepper.problem.field.rows(stepper.problem.y0))

    def per_row(x: Any) -> Tensor:
        return torch.as_tensor(x, dtype=torch.float64).cpu().expand(rows).clone()

    places: list[Place] = []
    t, y = per_row(stepper.t), stepper.raveled
    for number in range(stepper.problem.max_steps):
        if stepper.finished:
            break
        step = stepper.step()
        taken = per_row(step.taken).bool()
        if bool(taken.any()):
            places.append(Place(number, t, y, torch.where(taken, per_row(step.h).abs(), 0.0)))
            t, y = per_row(stepper.t), stepper.raveled
        if len(places) > KEPT:
            places = _thinned(places)
    places.append(Place(stepper.problem.max_steps, t, y, torch.zeros_like(t)))
    return [place for place in places if bool(torch.isfinite(place.y).all())] or places[:1]


def _thinned(places: list[Place]) -> list[Place]:
    """The first, every other, and the hard ones."""
    hard = {place.number for place in hardest(places)}
    return [place for i, place in enumerate(places) if i % 2 == 0 or place.number in hard]


def hardest(places: list[Place]) -> list[Place]:
    """Where steps were shortest, and where they shrank most; the first place is hard for the solver alone."""

    def shortest(place: Place) -> float:
        return float(torch.where(place.h > 0, place.h, torch.inf).min())

    sizes = [shortest(place) for place in places]
    shrunk = [(now / before, place) for before, now, place in zip(sizes, sizes[1:], places[1:], strict=False)]
    by_size = sorted(zip(sizes[1:], places[1:], strict=True), key=lambda pair: pair[0])
    by_fall = sorted(shrunk, key=lambda pair: pair[0])
    half = (PROBED - 3) // 2
    return [place for _, place in (*by_size[:half], *by_fall[:half])]
