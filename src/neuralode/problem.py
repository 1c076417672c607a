"""Every check of a solve's arguments, once; after it the library knows one state tensor and trusts it."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .control import CONTROLLERS, NORMS, Norm, StepControl, Tolerance, rounding_level
from .field import Split, Tally, VectorField
from .layout import Layout, RealPairs, leaves
from .methods import Method
from .ops import Size, mapped, transforming
from .pair import check_pair, check_separable
from .progress import Progress
from .registry import METHODS
from .times import check_times, span_per_sample, step_grid
from .tolerances import check_tolerance

Time = Any  # a float, or float64 (B,) with batch="independent"
Times = Any  # a list of floats, or (T, B)
FLOATING = (torch.float32, torch.float64, torch.complex64, torch.complex128)


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked solve. One state tensor ``y0``; times are floats, or float64 (B,) with batch="independent".

    Attributes:
        times: output times in the direction of integration besides the two ends, (T, B) when independent;
            ``"steps"``: every step.
        grid: the times of given steps, (N + 1, B) when independent; None: adaptive.
        inputs: t0, t1 and t_eval as the user gave them where a gradient is wanted, else None.
        sign: direction of time, 1 or -1, (B,) when independent.
        compact: whether samples that have ended are dropped from the calls of f.
        first_step: magnitude of the first step, (B,) where samples differ; None, or NaN of a sample: chosen from y0
            and f.
        watch: ``events.Watch``, which looks for events in every accepted step; None without.
        progress: told where the integration is, None without.
        start: the field for a method's first call, at (t0, y0), where its value may be known already.
    """

    field: VectorField | Split
    start: Callable[[Tensor, Tensor], Tensor]
    y0: Tensor
    t0: Time
    t1: Time
    sign: Time
    times: Times
    grid: Times
    inputs: tuple[Tensor | None, Tensor | None, Tensor | None]
    batch: str | None
    method: Method
    controller: StepControl
    rtol: float | Tensor
    atol: float | Tensor
    norm: Norm
    first_step: Size | None
    min_step: float
    max_step: float
    max_steps: int
    dense_output: bool
    compact: bool
    autocast: tuple[str, torch.dtype, bool, bool]
    watch: Any = None
    progress: Progress | None = None

    @cached_property
    def tolerance(self) -> Tolerance:
        """What errors are measured against: the user's tolerance, or rounding where steps are given."""
        if self.grid is not None:
            return rounding_level(self.y0, self.norm, self.batch)
        return Tolerance(self.rtol, self.atol, self.norm, self.batch)

    @cached_property
    def forward(self) -> bool:
        """Whether time goes forward for every sample; of samples that step by themselves, read from the device."""
        return bool((self.sign > 0).all()) if isinstance(self.sign, Tensor) else self.sign > 0

    @cached_property
    def reach(self) -> Time:
        """The larger magnitude of those ends that are finite, of samples that step by themselves."""
        end = torch.where(torch.isfinite(self.t1), self.t1.abs(), 0.0)
        return torch.maximum(self.t0.abs(), end)

    @property
    def span(self) -> tuple[Time, Time, Time]:
        """(t0, t1, direction)."""
        return self.t0, self.t1, self.sign

    @property
    def samples(self) -> int | None:
        """How many samples step by themselves; None for a state that steps as one."""
        return len(self.y0) if self.batch == "independent" else None

    @property
    def batch_size(self) -> int | None:
        """How many samples dimension 0 of the state holds; None for one system."""
        return None if self.batch is None else len(self.y0)

    def reenter_autocast(self) -> AbstractContextManager[Any]:
        """The autocast state that the forward pass ran under."""
        device, dtype, enabled, cache = self.autocast
        return torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=cache)


def check_callable(f: Any, method: Method) -> None:
    """f is a function, or for a method that splits it, two."""
    pair = isinstance(f, (tuple, list)) and len(f) == 2 and all(map(callable, f))
    if method.split and not pair:
        raise TypeError(
            f"method {method.name!r} takes f as a pair (f_explicit, f_implicit) whose sum is dy/dt, got "
            f"{type(f).__name__}; for one function use an implicit method such as 'kvaerno5'"
        )
    if not method.split and pair:
        raise TypeError(
            f"f is a pair, which method {method.name!r} does not split: use 'kencarp4', or give their sum"
        )
    if not method.split and not callable(f):
        raise TypeError(f"f must be callable as f(t, y, *args), got {type(f).__name__}")


def check_state(y0: Any, batch: str | None, given_steps: bool) -> tuple[Tensor, Layout | None]:
    """y0 as one tensor, and the layout that leads back to the user's pytree (None for a plain tensor)."""
    found = [("", y0)] if isinstance(y0, Tensor) else list(leaves(y0, ""))
    if not found:
        raise ValueError("y0 is an empty structure: give at least one tensor")
    for path, leaf in found:
        name = f"y0{path}"
        if not isinstance(leaf, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(leaf).__name__}: use torch.as_tensor(...)")
        if leaf.dtype not in FLOATING:
            raise TypeError(
                f"{name} is {leaf.dtype}, accepted: float32, float64, complex64, complex128; try {name}.float()"
            )
        if mapped(leaf):
            if given_steps:
                continue
            raise ValueError(
                f"{name} is mapped by torch.func.vmap, which hides the values that steps are chosen by: call solve "
                "once on the whole batch, with batch='independent' for steps of each sample's own; or give step="
            )
        finite = torch.isfinite(leaf.detach())
        if not finite.all():
            bad = (~finite).reshape(-1)
            first = int(bad.int().argmax())
            raise ValueError(
                f"{name} holds {int(bad.sum())} NaN or infinite entries, the first at flat index {first}"
            )
    if not isinstance(y0, Tensor):
        layout = Layout(y0, batch is not None)
        return layout.ravel(y0), layout
    if batch is not None and y0.dim() == 0:
        raise ValueError(f"y0 is 0-dimensional: with batch={batch!r} dimension 0 is the batch; use y0[None]")
    return y0, None


def check_span(
    t_span: Any, endless: bool = False
) -> tuple[float, float, float, tuple[Tensor | None, Tensor | None]]:
    """(t0, t1, direction, the ends that a gradient is wanted of); ``endless``: t1 may be infinite."""
    try:
        t0, t1 = t_span
        numbers = [float(t.detach() if isinstance(t, Tensor) else t) for t in (t0, t1)]
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"t_span must hold two times (t0, t1), got {t_span!r}; one time per sample needs batch='independent'"
        ) from None
    if not all(map(math.isfinite, numbers[:1] if endless else numbers)) or math.isnan(numbers[1]):
        raise ValueError(f"t_span must be finite, got ({numbers[0]}, {numbers[1]})")
    ends = [t if isinstance(t, Tensor) and (t.requires_grad or transforming()) else None for t in (t0, t1)]
    return numbers[0], numbers[1], -1.0 if numbers[1] < numbers[0] else 1.0, (ends[0], ends[1])


def as_pairs(
    state: Tensor, layout: Layout | None, batched: bool, tolerances: tuple[float | Tensor, float | Tensor]
) -> tuple[Tensor, RealPairs, list[float | Tensor]]:
    """A complex state and its tolerances as pairs of reals, and the layout that leads back."""
    shape = state.shape[:1] if batched else ()
    found = [
        value.expand(state.shape).repeat_interleave(2, -1).reshape(*shape, -1)
        if isinstance(value, Tensor)
        else value
        for value in tolerances
    ]
    return RealPairs(state, None, batched).ravel(state), RealPairs(state, layout, batched), found


def control_of(chosen: str | StepControl) -> StepControl:
    """A controller by name, or as it is."""
    return CONTROLLERS[chosen] if isinstance(chosen, str) else chosen


def field_of(
    f: Any, args: tuple[Any, ...], layout: Layout | RealPairs | None, method: Method, options: Any
) -> VectorField | Split:
    """f as the library calls it, one function or two that share their counts."""
    tally, batched = Tally(), options.batch is not None

    def bound(part: Callable[..., Any]) -> VectorField:
        return VectorField(part, args, layout, batched, options.jac, tally)

    return Split(bound(f[0]), bound(f[1])) if method.split else bound(f)


def autocast_on(device: str) -> tuple[str, torch.dtype, bool, bool]:
    """The autocast state of a kind of device."""
    return (
        device,
        torch.get_autocast_dtype(device),
        torch.is_autocast_enabled(device),
        torch.is_autocast_cache_enabled(),
    )


def prepare(
    f: Callable[..., Any],
    t_span: Any,
    y0: Any,
    t_eval: Any,
    args: Any,
    options: Any,
    endless: bool = False,
) -> tuple[Problem, Layout | RealPairs | None]:
    """The checked problem of one call of ``solve``; ``options`` is its ``Solver``.

    ``endless``: t1 may be infinite, and f is linearised in the end.
    """
    args = args if isinstance(args, tuple) else (args,)
    method = METHODS[options.method]
    check_callable(f, method)
    given, inner = check_state(y0, options.batch, options.step is not None)
    rtol, atol = (check_tolerance(name, getattr(options, name), given, inner) for name in ("rtol", "atol"))
    if method.state == "pair":
        check_pair(method.name, given, inner)
    state: Tensor = given
    layout: Layout | RealPairs | None = inner
    if (method.real or endless) and given.is_complex():
        state, layout, (rtol, atol) = as_pairs(given, inner, options.batch is not None, (rtol, atol))
    samples = state.shape[0] if options.batch == "independent" else None
    t0, t1, sign, ends = (
        check_span(t_span, endless)
        if samples is None
        else span_per_sample(t_span, samples, state.device, endless)
    )
    times, marks = ([], None) if t_eval is None else check_times(t_eval, t0, t1, sign, samples)
    grid = None if options.step is None else step_grid(options.step, t0, t1, sign)
    field = field_of(f, args, layout, method, options)
    if method.state == "pair":
        check_separable(method.name, field, t0, state)
    return Problem(
        field=field,
        start=field,
        y0=state,
        t0=t0,
        t1=t1,
        sign=sign,
        times=times,
        grid=grid,
        inputs=(*ends, marks),
        batch=options.batch,
        method=method,
        controller=control_of(options.controller or method.controller),
        rtol=rtol,
        atol=atol,
        norm=NORMS.get(options.norm, options.norm),
        first_step=options.first_step,
        min_step=options.min_step,
        max_step=options.max_step,
        max_steps=options.max_steps,
        dense_output=options.dense_output,
        compact=options.compact,
        autocast=autocast_on(state.device.type),
    ), layout
