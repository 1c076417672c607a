"""What is seen at the places of a walk."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..diagnosis import Operations, blow_up, roughest, slopes, stability_interval, start_vector
from ..diagnosis.advice import EXPLICIT_STEPS, Evidence, advise_gradient, advise_method, advise_tolerance
from ..diagnosis.growth import GROWN, NEAR_END
from ..diagnosis.report import BlowUp, Diagnosis, Path
from ..diagnosis.roughness import Rough
from ..field import UNSUPPORTED, VectorField
from ..ops import stage_times
from ..solution import SENTENCES, Status
from ..stepper import Stepper
from .walk import Place, hardest

PLACES = 32  # on the path at which df/dy is looked at
DIRECTIONS = 8  # a place
FILLED = 0.25  # of the stability interval, above which stability is what sets an explicit method's steps
EXPLICIT_INTERVAL = 3.3  # dopri5's, where the walk's own method has none


class Facts:
    """What is seen at the places of one walk."""

    def __init__(self, stepper: Stepper, places: list[Place], kinks: list[str]) -> None:
        self.stepper, self.places, self.problem = stepper, places, stepper.problem
        assert isinstance(self.problem.field, VectorField)
        self.field: VectorField = self.problem.field
        first = places[0]
        with Operations() as operations:
            one = self.field(self.time(first), first.y)
        again = self.field(self.time(first), first.y)
        self.random = not torch.allclose(one, again, rtol=1e-3, atol=1e-6, equal_nan=True)
        self.kinks = tuple(kinks) or tuple(f"torch.{name} in f" for name in operations.seen)
        self.path = self._path()

    def time(self, place: Place) -> Tensor:
        """As f takes it."""
        t: Any = (
            place.t.to(self.problem.y0.device) if self.problem.batch == "independent" else float(place.t[0])
        )
        return stage_times(t, t * 0.0, (0.0,), place.y)[0]

    def _path(self) -> Path:
        """Slopes at places spread evenly over the steps."""
        count = len(self.places)
        chosen = sorted({round(i * (count - 1) / (PLACES - 1)) for i in range(PLACES)}) if count > 1 else [0]
        self.seen = seen = [self.places[i] for i in chosen]
        found = [slopes(self.field, self.time(place), place.y) for place in seen]
        return Path(
            t=torch.stack([place.t for place in seen]),
            lipschitz=torch.stack([x.norm for x in found]),
            log_norm=torch.stack([x.log_norm for x in found]),
            abscissa=torch.stack([x.abscissa for x in found]),
            decay=torch.stack([x.decay for x in found]),
            radius=torch.stack([x.radius for x in found]),
            step=torch.stack([place.h for place in seen]),
        )

    def directions(self, place: Place) -> Iterator[tuple[Tensor, int | None]]:
        """Unit directions, shaped like y, and the component that they are of: the axes of few numbers, else mixed."""
        rows, n = self.field.rows(place.y).shape
        if n <= DIRECTIONS:
            for i in range(n):
                unit = torch.zeros(rows, n, dtype=place.y.dtype, device=place.y.device)
                unit[:, i] = 1.0
                yield unit.reshape(place.y.shape), i
            return
        slope = self.field(self.time(place), place.y)
        for vector in (slope, *(start_vector(place.y).roll(7**k) for k in range(DIRECTIONS - 1))):
            unit = self.field.rows(vector)
            size = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
            yield torch.where(size > 0, unit / size, 0.0).reshape(place.y.shape), None

    def roughness(self) -> tuple[float, Rough | None]:
        """(largest difference quotient, the roughest place)."""
        peak, worst = 0.0, None
        norms = torch.stack(
            [torch.linalg.vector_norm(self.field.rows(p.y), dim=1) for p in self.places]
        ).amax(0)
        size = torch.where(norms > 0, norms, 1.0)
        steepest = self.seen[int(self.path.lipschitz.nan_to_num(-1.0).amax(1).argmax())]
        places = (self.places[0], *hardest(self.places), steepest, self.places[-1])
        probed = {place.number: place for place in places}
        for place in probed.values():
            for direction, along in self.directions(place):
                quotient, found = roughest(
                    self.field, self.time(place), place.y, direction, along, place.t, size
                )
                peak = max(peak, quotient)
                if found is not None and (worst is None or found.power < worst.power):
                    worst = found
        return peak, worst

    def blow_up(self) -> BlowUp | None:
        """Where two places foretell the same infinity, near to the end of the walk."""
        last, sign = self.places[-1], torch.as_tensor(self.problem.sign, dtype=torch.float64).cpu()
        try:
            left = blow_up(self.field, self.time(last), last.y, sign)
            elapsed = (last.t - self.places[0].t).abs()
            earlier = [p for p in self.places[:-1] if bool(((last.t - p.t).abs() >= left).any())]
            if not earlier:
                return None
            before = blow_up(self.field, self.time(earlier[-1]), earlier[-1].y, sign)
        except UNSUPPORTED:
            return None
        sizes = [
            torch.linalg.vector_norm(self.field.rows(p.y).double(), dim=1).cpu()
            for p in (self.places[0], last)
        ]
        times = last.t + sign * left
        agree = (times - (earlier[-1].t + sign * before)).abs() <= 0.1 * before
        sure = agree & (left <= NEAR_END * elapsed) & (sizes[1] >= GROWN * sizes[0])
        if not bool(sure.any()):
            return None
        row = int(torch.where(sure, sign * times, torch.inf).argmin())
        return BlowUp(float(times[row]), row if self.field.batched else None)

    def integral(self, values: Tensor) -> Tensor:
        """Of (P, R) over time, (R,), by the trapezoidal rule."""
        if len(values) < 2:
            return torch.zeros(values.shape[1], dtype=torch.float64)
        return (0.5 * (values[1:] + values[:-1]) * self.path.t.diff(dim=0).abs()).sum(0)

    def limited(self) -> Tensor:
        """How much of an explicit method's stability interval steps fill, at most 1, a mean over time, (R,)."""
        interval = stability_interval(self.problem.method) or EXPLICIT_INTERVAL
        filled = (self.path.step * self.path.decay.nan_to_num(0.0) / interval).clamp(0.0, 1.0)[:-1]
        lengths = self.path.t.diff(dim=0).abs()
        return (filled * lengths).sum(0) / lengths.sum(0).clamp(min=1e-300)

    def diagnosis(self, error: Callable[[str], float | None]) -> Diagnosis:
        """All of it; ``error`` gives that of a trial with a method."""
        path, span = self.path, abs(self.problem.t1 - self.problem.t0)
        span = span.cpu() if isinstance(span, Tensor) else torch.tensor(span, dtype=torch.float64)
        peak, rough = (0.0, None) if self.random else self.roughness()
        lipschitz, steepest, worst = self.steepest(peak, rough)
        decay = path.decay.clamp(min=0.0).nan_to_num(0.0)
        explicit = self.integral(decay) / EXPLICIT_INTERVAL
        limited = self.limited()
        stiff = (limited >= FILLED) & (explicit >= EXPLICIT_STEPS)
        evidence = self.evidence(bool(stiff.any()), float(explicit.max()), rough)
        method = advise_method(evidence)
        return Diagnosis(
            reached=self._reached(),
            status=self._status(),
            steps=evidence.steps,
            rejected=int(torch.as_tensor(self.stepper.rejected).max()),
            evaluations=self.field.count,
            lipschitz=lipschitz,
            lipschitz_t=steepest,
            log_norm=_largest(path.log_norm),
            abscissa=_largest(path.abscissa),
            stiffness_index=float((decay.amax(0) * span).max()),
            limited=float(limited.max()),
            stiff=evidence.stiff,
            worst=worst,
            blow_up=self.blow_up(),
            non_lipschitz=rough,
            kinks=self.kinks,
            random=self.random,
            method=method,
            rtol=advise_tolerance(evidence, method.value, None if self.random else error(method.value)),
            gradient=advise_gradient(evidence),
            path=path,
        )

    def steepest(self, peak: float, rough: Rough | None) -> tuple[float, float, int | None]:
        """(the largest Lipschitz constant, where, of which sample); from quotients where f has no derivatives."""
        norms = self.path.lipschitz.nan_to_num(-1.0)
        place, row = divmod(int(norms.argmax()), norms.shape[1])
        largest = float(norms.max())
        if rough is not None and rough.quotient > largest:
            return rough.quotient, rough.t, rough.sample
        known = largest if largest >= 0.0 else peak
        return known, float(self.path.t[place, row]), row if self.field.batched else None

    def evidence(self, stiff: bool, explicit: float, rough: Rough | None) -> Evidence:
        """What advice is drawn from."""
        return Evidence(
            stiff=stiff,
            explicit_steps=explicit,
            unknowns=self.field.rows(self.problem.y0).shape[1],
            numbers=self.problem.y0.numel(),
            steps=int(torch.as_tensor(self.stepper.accepted).max()),
            decay=float(self.integral(self.path.decay).max()),
            epsilon=torch.finfo(self.problem.y0.dtype).eps,
            rough=rough,
            kinks=self.kinks,
            random=self.random,
        )

    def _reached(self) -> float:
        times = self.places[-1].t * torch.as_tensor(self.problem.sign, dtype=torch.float64).cpu()
        return float(self.places[-1].t[int(times.argmin())])

    def _status(self) -> str:
        return SENTENCES[Status(int(torch.as_tensor(self.stepper.status).min()))]


def _largest(values: Tensor) -> float:
    """NaN only where all are."""
    known = values[torch.isfinite(values)]
    return float(known.max()) if len(known) else float("nan")
