"""Every check of a solve's arguments, once; after it the library knows one state tensor and trusts it."""

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .control import Controller, Norm
from .errors import SolverWarning
from .layout import Layout, leaves
from .methods import Method
from .ops import Size, real_dtype
from .times import check_span, check_times, step_grid

Output = str | list[float] | Tensor
FLOATING = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class VectorField:
    """f with its arguments bound, on the raveled state; counts its calls and checks what comes back."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], layout: Layout | None) -> None:
        self.f, self.args, self.layout = f, args, layout
        self.count = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.count += 1
        version = None if y.is_inference() else y._version
        state = y if self.layout is None else self.layout.unravel(y)
        try:
            dy = self.f(t, state, *self.args)
        except Exception as error:
            error.add_note(f"raised by f at evaluation {self.count}, t = {t.detach().flatten().tolist()[:8]}")
            raise
        if self.layout is not None:
            dy = self.layout.ravel(dy)
        if version is not None and y._version != version:
            raise RuntimeError("f changed its argument y in place: compute dy/dt in a new tensor")
        if not isinstance(dy, Tensor):
            raise TypeError(f"f must return dy/dt as a tensor like y, got {type(dy).__name__}")
        if dy.shape != y.shape:
            raise ValueError(
                f"f returned shape {tuple(dy.shape)}, expected that of y, {tuple(y.shape)}; "
                "f is called as f(t, y, *args)"
            )
        if dy.dtype != y.dtype or dy.device != y.device:
            return self._same_kind(dy, y)
        return dy

    def _same_kind(self, dy: Tensor, y: Tensor) -> Tensor:
        if dy.device != y.device:
            raise ValueError(f"f returned a tensor on {dy.device}, y is on {y.device}: move f's parameters there")
        if torch.is_autocast_enabled(y.device.type):
            return dy.to(y.dtype)
        raise TypeError(f"f returned {dy.dtype}, y is {y.dtype}: make f's parameters and constants {y.dtype}")


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked solve. One state tensor ``y0``; times are floats, or float64 (B,) with batch="independent".

    Attributes:
        times: output times in the direction of integration, (T, B) when independent; ``"steps"``: every step.
        grid: the times of given steps, (N + 1, B) when independent; None: adaptive.
        inputs: t0, t1 and t_eval as the user gave them where a gradient is wanted, else None.
        sign: direction of time, 1 or -1, (B,) when independent.
        slope: f(t0, y0) where it was evaluated before the loop starts.
    """

    field: VectorField
    y0: Tensor
    t0: Size
    t1: Size
    sign: Size
    times: Output
    grid: list[float] | Tensor | None
    inputs: tuple[Tensor | None, Tensor | None, Tensor | None]
    batch: str | None
    method: Method
    controller: Controller
    rtol: float | Tensor
    atol: float | Tensor
    norm: Norm
    first_step: float | None
    min_step: float
    max_step: float
    max_steps: int
    dense_output: bool
    autocast: tuple[str, torch.dtype, bool, bool]
    slope: Tensor | None = None

    @property
    def first_field(self) -> Callable[[Tensor, Tensor], Tensor]:
        """f for a method's start at (t0, y0): the slope there may be known already."""
        slope = self.slope
        return self.field if slope is None else lambda t, y: slope

    def reenter_autocast(self) -> AbstractContextManager[Any]:
        """The autocast state that the forward pass ran under."""
        device, dtype, enabled, cache = self.autocast
        return torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=cache)


def check_state(y0: Any, batch: str | None) -> tuple[Tensor, Layout | None]:
    """y0 as one tensor, and the layout that leads back to the user's pytree (None for a plain tensor)."""
    found = [("", y0)] if isinstance(y0, Tensor) else list(leaves(y0, ""))
    if not found:
        raise ValueError("y0 is an empty structure: give at least one tensor")
    for path, leaf in found:
        name = f"y0{path}"
        if not isinstance(leaf, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(leaf).__name__}: use torch.as_tensor(...)")
        if leaf.dtype not in FLOATING:
            raise TypeError(f"{name} is {leaf.dtype}, accepted: float32, float64, complex64, complex128; try {name}.float()")
        bad = (~torch.isfinite(leaf.detach())).reshape(-1)
        if leaf.numel() and bad.any():
            first = int(bad.int().argmax())
            raise ValueError(f"{name} holds {int(bad.sum())} NaN or infinite entries, the first at flat index {first}")
    if not isinstance(y0, Tensor):
        layout = Layout(y0, batch is not None)
        return layout.ravel(y0), layout
    if batch is not None and y0.dim() == 0:
        raise ValueError(f"y0 is 0-dimensional: with batch={batch!r} dimension 0 is the batch; use y0[None]")
    return y0, None


def check_tolerance(name: str, value: Any, y0: Tensor) -> float | Tensor:
    """A tolerance as a float, or as a tensor that broadcasts to y0."""
    if isinstance(value, Tensor) and value.numel() > 1:
        value = value.detach().to(y0.device, real_dtype(y0))
        try:
            if torch.broadcast_shapes(value.shape, y0.shape) != y0.shape:
                raise RuntimeError
        except RuntimeError:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, which does not broadcast to y0's {tuple(y0.shape)}"
            ) from None
        smallest = float(value.min())
    else:
        value = smallest = float(value)
    if not (smallest >= 0.0 and math.isfinite(smallest)):
        raise ValueError(f"{name} must be >= 0 and finite, got {smallest}")
    if name == "rtol":
        floor = 4 * torch.finfo(y0.dtype).eps
        if smallest < floor:
            warnings.warn(
                f"rtol = {smallest:.3g} is below what {y0.dtype} resolves; using {floor:.3g}", SolverWarning, stacklevel=5
            )
            return value.clamp(min=floor) if isinstance(value, Tensor) else floor
    return value


def prepare(
    f: Callable[..., Any],
    t_span: Any,
    y0: Any,
    t_eval: Any,
    args: Any,
    options: Any,
) -> tuple[Problem, Layout | None]:
    """The checked problem of one call of ``solve``; ``options`` is its ``Solver``."""
    if not callable(f):
        raise TypeError(f"f must be callable as f(t, y, *args), got {type(f).__name__}")
    args = args if isinstance(args, tuple) else (args,)
    state, layout = check_state(y0, options.batch)
    samples = state.shape[0] if options.batch == "independent" else None
    t0, t1, sign, ends = check_span(t_span, samples, state.device)
    times, marks = ([t0, t1], None) if t_eval is None and samples is None else check_times(t_eval, t0, t1, sign, samples)
    grid = None if options.step is None else step_grid(options.step, t0, t1, sign)
    device = state.device.type
    return Problem(
        field=VectorField(f, args, layout),
        y0=state,
        t0=t0,
        t1=t1,
        sign=sign,
        times=times,
        grid=grid,
        inputs=(*ends, marks),
        batch=options.batch,
        method=options.scheme,
        controller=options.control,
        rtol=check_tolerance("rtol", options.rtol, state),
        atol=check_tolerance("atol", options.atol, state),
        norm=options.measure,
        first_step=options.first_step,
        min_step=options.min_step,
        max_step=options.max_step,
        max_steps=options.max_steps,
        dense_output=options.dense_output,
        autocast=(
            device,
            torch.get_autocast_dtype(device),
            torch.is_autocast_enabled(device),
            torch.is_autocast_cache_enabled(),
        ),
    ), layout
