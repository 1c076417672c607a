"""The compiled f against f itself, at a few places."""

import ctypes
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..field import VectorField
from ..layout import leaves, rebuild
from ..problem import Problem
from .call import Call, address, flat_rows
from .graph import UnsupportedError
from .wanted import wanted_gradients

if TYPE_CHECKING:
    from .field import Compiled

SAMPLES = 3
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-10}
Places = tuple[Tensor, Tensor, VectorField]


def time_of(problem: Problem, t: Tensor, y: Tensor) -> Tensor:
    """t (B,) as f gets it beside y."""
    return t.reshape(-1, *(1,) * (y.dim() - 1)) if problem.batch == "independent" else t[0]


def _clocks(problem: Problem, count: int) -> Tensor:
    """t0 of the first few samples."""
    t0 = problem.t0
    return (
        t0[torch.arange(count) % len(t0)]
        if isinstance(t0, Tensor)
        else torch.full((count,), t0, dtype=torch.float64)
    )


def places(problem: Problem, f: VectorField, lane: tuple[int, ...]) -> Places:
    """(times, states, f) of a few samples, moved a little so that no two are alike."""
    y0, samples = problem.y0.detach(), problem.batch_size
    if samples is None:
        return _clocks(problem, 1), y0[None], f
    chosen = torch.arange(SAMPLES) % samples
    values = [leaf for _, leaf in leaves(f.args, "")]
    few = [leaf[chosen] if i in lane else leaf for i, leaf in enumerate(values)]
    moved = torch.linspace(1.0, 1.01, SAMPLES, dtype=y0.dtype).reshape(-1, *(1,) * (y0.dim() - 1))
    return _clocks(problem, SAMPLES), y0[chosen] * moved, replace(f, args=rebuild(f.args, iter(few)))


def first(problem: Problem, f: VectorField, lane: tuple[int, ...]) -> Places:
    """As ``places``, of the first sample as it is."""
    if problem.batch is None:
        return places(problem, f, lane)
    if lane:
        values = [leaf for _, leaf in leaves(f.args, "")]
        few = [leaf[:1] if i in lane else leaf for i, leaf in enumerate(values)]
        f = replace(f, args=rebuild(f.args, iter(few)))
    return _clocks(problem, 1), problem.y0.detach()[:1], f


def _eager(problem: Problem, f: VectorField, t: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        if problem.batch is None:
            return f._raw(t[0].to(y.dtype), y[0])[None]
        return f._raw(time_of(problem, t.to(y.dtype), y), y)


def differs(found: "Compiled", problem: Problem, f: VectorField, places: Places) -> bool:
    """Whether the compiled f is another function than f at some places."""
    t, y, some = places
    want = _eager(problem, some, t, y)
    built, shared = _library(found, problem, f)
    y = y.contiguous()
    got = torch.empty_like(y)
    call = Call(samples=len(y))
    call.point(t0=t.contiguous(), y0=y, y1=got)
    if found.lane:
        call.point(args=flat_rows(found.lane_tensors(some.args), len(y)))
    call.share(shared)
    built.evaluate(address(call))
    return not _close(got, want)


def _library(found: "Compiled", problem: Problem, f: VectorField) -> tuple[ctypes.CDLL, list[Tensor]]:
    """The library that the solve is going to need, whichever has f in it; and the tensors that samples share."""
    uniforms = found.uniforms(f.args)
    wanted = wanted_gradients(problem.y0, (*found.lane_tensors(f.args), *uniforms))
    shared = [u.detach().contiguous() for u in uniforms]
    try:
        return found.build(problem, shared, wanted)[1], shared
    except UnsupportedError:
        if wanted is None:
            raise
        return found.build(problem, shared, None)[1], shared  # f can be fused, its VJP cannot


def _close(a: Tensor, b: Tensor) -> bool:
    bound = CLOSE[a.dtype]
    if float((a - b).abs().max()) <= bound * float(b.abs().max()):
        return True
    finite = b.abs()[torch.isfinite(b)]
    scale = float(finite.max()) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=bound, atol=bound * scale, equal_nan=True)


def check_apart(found: "Compiled", problem: Problem, f: VectorField) -> None:
    """f of three samples together is f of each."""
    if problem.batch is None:
        return
    t, y, some = places(problem, f, found.lane)
    together = _eager(problem, some, t, y)
    values = [leaf for _, leaf in leaves(some.args, "")]
    for i in range(SAMPLES):
        own = [leaf[i : i + 1] if j in found.lane else leaf for j, leaf in enumerate(values)]
        alone = _eager(problem, replace(some, args=rebuild(some.args, iter(own))), t[i : i + 1], y[i : i + 1])
        if not _close(alone[0], together[i]):
            raise UnsupportedError(
                "f mixes samples: f of three samples together is not f of each (batch normalisation, a mean over "
                "the batch?), so a batch cannot be solved sample by sample"
            )
