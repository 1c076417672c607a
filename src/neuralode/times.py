"""Checks of t_span, t_eval and step: what comes out is float, or float64 (B,) per sample."""

import math
from typing import Any

import torch
from torch import Tensor

from .ops import Size, transforming

Ends = tuple[Tensor | None, Tensor | None]


def wants_gradient(t: Any) -> Tensor | None:
    """t itself where it is a tensor that a derivative may be taken with respect to."""
    return t if isinstance(t, Tensor) and (t.requires_grad or transforming()) else None


def span_per_sample(
    t_span: Any, samples: int, device: torch.device, endless: bool = False
) -> tuple[Tensor, Tensor, Tensor, Ends]:
    """(t0, t1, direction), each (B,) float64, and the ends that a gradient is wanted of.

    ``endless``: t1 may be infinite.
    """
    try:
        first, last = t_span
    except (TypeError, ValueError):
        raise ValueError(f"t_span must hold two times (t0, t1), got {t_span!r}") from None
    t0, t1 = (
        _per_sample("t0", first, samples, device),
        _per_sample("t1", last, samples, device, endless),
    )
    return (
        t0,
        t1,
        torch.where(t1 < t0, -1.0, 1.0).to(torch.float64),
        (wants_gradient(first), wants_gradient(last)),
    )


def _per_sample(name: str, value: Any, samples: int, device: torch.device, endless: bool = False) -> Tensor:
    times = torch.as_tensor(value, dtype=torch.float64, device=device).detach()
    if times.dim() > 1 or times.numel() not in (1, samples):
        raise ValueError(
            f"{name} in t_span must be a number or have shape ({samples},), got {tuple(times.shape)}"
        )
    if bool(torch.isnan(times).any()) or not (endless or bool(torch.isfinite(times).all())):
        raise ValueError(f"{name} in t_span must be finite, got {times.tolist()}")
    return times.reshape(-1).expand(samples).contiguous()


def check_times(
    t_eval: Any, t0: Size, t1: Size, sign: Size, samples: int | None
) -> tuple[Any, Tensor | None]:
    """Output times: a list, or (T, B) per sample; ``"steps"`` stays as it is."""
    if isinstance(t_eval, str):
        if t_eval != "steps":
            raise ValueError(f"t_eval must be None, times or 'steps', got {t_eval!r}")
        return t_eval, None
    # Python's numbers are float64: torch's default of float32 would move them.
    numbers = isinstance(t_eval, (list, tuple)) and not any(isinstance(t, Tensor) for t in t_eval)
    given = torch.as_tensor(t_eval, dtype=torch.float64 if numbers else None)
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"t_eval must hold real times, got {given.dtype}")
    slack = 4 * torch.finfo(given.dtype).eps if given.is_floating_point() else 0.0
    if samples is None:
        if given.dim() != 1:
            raise ValueError(f"t_eval must be 1-dimensional, got shape {tuple(given.shape)}")
        start, stop, direction = (torch.tensor([x], dtype=torch.float64) for x in (t0, t1, sign))
    else:
        start, stop, direction = (x for x in (t0, t1, sign) if isinstance(x, Tensor))
        if given.dim() not in (1, 2) or (given.dim() == 2 and given.shape[0] != samples):
            raise ValueError(f"t_eval must have shape (T,) or ({samples}, T), got {tuple(given.shape)}")
    columns = given.detach().to(start.device, torch.float64)
    columns = (columns[:, None] if given.dim() == 1 else columns.T).expand(-1, len(start))
    times = _inside(columns, start, stop, direction, slack)
    return (times[:, 0].tolist() if samples is None else times), wants_gradient(given)


def _inside(times: Tensor, t0: Tensor, t1: Tensor, sign: Tensor, slack: float) -> Tensor:
    """Times (T, B) checked for order and range; those beyond an end by rounding are moved onto it."""
    _first_bad(~torch.isfinite(times), times, "is not finite")
    if times.shape[0] > 1:
        late = torch.cat((torch.zeros_like(times[:1], dtype=torch.bool), (times[1:] - times[:-1]) * sign < 0))
        _first_bad(late, times, "is out of order: sort t_eval in the direction of t_span")
    room = slack * torch.maximum(t0.abs(), t1.abs())
    outside = ((times - t0) * sign < -room) | ((t1 - times) * sign < -room)
    _first_bad(outside, times, "lies outside t_span")
    return torch.minimum(torch.maximum(times, torch.minimum(t0, t1)), torch.maximum(t0, t1))


def _first_bad(bad: Tensor, times: Tensor, what: str) -> None:
    if bad.any():
        index, sample = bad.nonzero()[0].tolist()
        where = f" of sample {sample}" if times.shape[1] > 1 else ""
        raise ValueError(f"t_eval[{index}]{where} = {times[index, sample].item():.9g} {what}")


def check_stops(t_stops: Any, t0: Size, t1: Size, sign: Size, samples: int | None) -> Tensor | None:
    """Times of discontinuity inside the span, (S, C) float64, sorted in its direction, C one or ``samples``.

    Those that do not lie strictly inside a sample's span are moved behind its end. None where no sample has one.
    """
    numbers = isinstance(t_stops, (list, tuple)) and not any(isinstance(t, Tensor) for t in t_stops)
    given = torch.as_tensor(t_stops, dtype=torch.float64 if numbers else None)
    if given.is_complex() or given.dtype == torch.bool:
        raise TypeError(f"t_stops must hold real times, got {given.dtype}")
    shapes = "(S,)" if samples is None else f"(S,) or ({samples}, S)"
    if given.dim() != 1 and (samples is None or given.dim() != 2 or given.shape[0] != samples):
        raise ValueError(f"t_stops must have shape {shapes}, got {tuple(given.shape)}")
    if bool(torch.isnan(given).any()):
        raise ValueError("t_stops holds NaN; pad rows of different lengths with inf")
    device = t0.device if isinstance(t0, Tensor) else given.device
    start, stop, direction = (
        torch.as_tensor(x, dtype=torch.float64, device=device).reshape(-1) for x in (t0, t1, sign)
    )
    times = given.to(device, torch.float64)
    times = times[:, None].expand(-1, len(start)) if times.dim() == 1 else times.T
    inside = ((times - start) * direction > 0) & ((stop - times) * direction > 0)
    if not bool(inside.any()):
        return None
    times = torch.where(inside, times, direction * torch.inf)
    order = torch.argsort(times.detach() * direction, dim=0)
    return times.gather(0, order)[: int(inside.sum(0).max())]


def step_grid(step: Any, t0: Size, t1: Size, sign: Size) -> Any:
    """The times of given steps, ends included: a list, or (N + 1, B) per sample (padded with t1)."""
    if not bool(torch.isfinite(torch.as_tensor(t1)).all()):
        raise ValueError("step= needs a finite end of t_span: give one, or use an adaptive method")
    if isinstance(step, Tensor) and step.dim() > 0:
        return _given_grid(step, t0, t1, sign)
    size = float(step)
    if not (math.isfinite(size) and size > 0):
        raise ValueError(f"step must be a positive number or a 1-D tensor of times, got {step!r}")
    if isinstance(t0, Tensor):
        span = (t1 - t0).abs()
        count = max(1, math.ceil(float(span.max()) / size * (1 - 1e-12)))
        offsets = torch.arange(count + 1, dtype=torch.float64, device=t0.device)[:, None] * size
        near = offsets >= span - 1e-10 * size
        return torch.where(near, t1, t0 + sign * offsets)
    assert isinstance(t1, float) and isinstance(sign, float)
    count = max(1, math.ceil(abs(t1 - t0) / size * (1 - 1e-12))) if t1 != t0 else 0
    return [t0 + sign * size * i for i in range(count)] + [t1]


def _given_grid(step: Tensor, t0: Size, t1: Size, sign: Size) -> Any:
    if step.dim() != 1 or not step.is_floating_point() or not torch.isfinite(step).all():
        raise ValueError(
            f"step times must be a finite floating 1-D tensor, got {step.dtype} {tuple(step.shape)}"
        )
    grid = step.detach().to(torch.float64)
    if isinstance(t0, Tensor):
        assert isinstance(t1, Tensor) and isinstance(sign, Tensor)
        if not (bool((t0 == t0[0]).all()) and bool((t1 == t1[0]).all())):
            raise ValueError(
                "step as a tensor of times needs one t_span for all samples; give step as a number"
            )
        column = torch.tensor(
            _given_grid(step, float(t0[0]), float(t1[0]), float(sign[0])), dtype=torch.float64
        )
        return column.to(t0.device)[:, None].expand(-1, len(t0)).contiguous()
    assert isinstance(sign, float)
    moves = (grid[1:] - grid[:-1]) * sign
    if bool((moves <= 0).any()):
        index = int((moves <= 0).int().argmax()) + 1
        raise ValueError(
            f"step times must move strictly from t0 to t1; step[{index}] = {grid[index]:.9g} does not"
        )
    numbers = grid.tolist()
    slack = 4 * torch.finfo(step.dtype).eps * max(abs(t0), abs(float(t1)))
    if numbers and (sign * (numbers[0] - t0) < -slack or sign * (float(t1) - numbers[-1]) < -slack):
        raise ValueError(
            f"step times must lie inside t_span = ({t0}, {t1}), got {numbers[0]} ... {numbers[-1]}"
        )
    inner = [x for x in numbers if sign * (x - t0) > slack and sign * (float(t1) - x) > slack]
    return [t0, *inner, t1]
