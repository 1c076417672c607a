"""The user's f, traced and compiled: once for as long as it stays the same."""

import ctypes
import inspect
import weakref
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..control import NORMS
from ..field import VectorField
from ..layout import leaves, rebuild
from ..problem import Problem
from ..tableaus import Tableau
from .build import library, register_width
from .call import Call, address
from .graph import UnsupportedError
from .source import Shape, Source, write
from .trace import Traced, trace, vjp_of

SAMPLES = 3
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-10}
Places = tuple[Tensor, Tensor, VectorField]
LIBRARIES: dict[str, ctypes.CDLL] = {}
TRACES: weakref.WeakKeyDictionary[Any, dict[Any, "Compiled"]] = weakref.WeakKeyDictionary()
MOST_TRACES = 16  # of one f: dtypes, shapes of arguments


@dataclass(eq=False)
class Compiled:
    """f of one sample.

    Attributes:
        lane: which leaves of f's arguments have a row for each sample; shared: which are the same for all.
        built: libraries, by method, norm and wanted gradients.
    """

    traced: Traced
    lane: tuple[int, ...]
    shared: tuple[int, ...]
    lane_sizes: tuple[int, ...]
    built: dict[Any, tuple[Source, ctypes.CDLL]] = field(default_factory=dict)

    def build(
        self, problem: Problem, uniforms: Sequence[Tensor], wanted: tuple[int, ...] | None
    ) -> tuple[Source, ctypes.CDLL]:
        """The library for a problem's method; ``wanted``: with the gradient to y0 and those of f's inputs."""
        tableau = problem.method.tableau
        assert tableau is not None
        sup = problem.norm is NORMS["max"]
        lockstep = problem.batch == "lockstep"
        key = (tableau.name, sup, lockstep, graded(problem), wanted)
        if key not in self.built:
            y = sample_of(problem)
            sizes = y.numel(), self.lane_sizes, tuple(u.numel() for u in uniforms)
            shape = Shape(*sizes, y.dtype, sup, register_width(), lockstep, graded(problem))
            self.built[key] = self._library(problem, shape, tableau, uniforms, wanted)
        return self.built[key]

    def _library(
        self,
        problem: Problem,
        shape: Shape,
        tableau: Tableau,
        uniforms: Sequence[Tensor],
        wanted: tuple[int, ...] | None,
    ) -> tuple[Source, ctypes.CDLL]:
        vjp = None
        if wanted is not None:
            y = sample_of(problem)
            f: Any = problem.field
            inputs = [y.new_zeros(()), y, *(row.detach()[0] for row in self.lane_tensors(f))]
            inputs += [u.detach() for u in uniforms]
            vjp = vjp_of(self.traced, inputs, wanted, torch.ones_like(y))
        source = write(self.traced.body, shape, tableau, vjp, wanted or ())
        if source.key not in LIBRARIES:
            LIBRARIES[source.key] = library(source)
        return source, LIBRARIES[source.key]

    def lane_tensors(self, f: VectorField) -> list[Tensor]:
        """The arguments with a row for each sample."""
        values = [leaf for _, leaf in leaves(f.args, "")]
        return [values[i] for i in self.lane]

    def uniforms(self, f: VectorField) -> tuple[Tensor, ...]:
        """The tensors that all samples share, now; differentiable."""
        values = [leaf for _, leaf in leaves(f.args, "")]
        return self.traced.uniforms([values[i] for i in self.shared])


def sample_of(problem: Problem) -> Tensor:
    """One sample's state."""
    y = problem.y0.detach()
    return y if problem.batch is None else y[0]


def graded(problem: Problem) -> bool:
    """Whether tolerances differ between entries of the state, or samples."""
    return problem.grid is None and (isinstance(problem.rtol, Tensor) or isinstance(problem.atol, Tensor))


def compiled(problem: Problem, check: bool) -> Compiled:
    """f's trace: a new one where f, or anything the program depends on but values of tensors, is new.

    Raises:
        UnsupportedError: f cannot be traced, or mixes samples, or its values are not those of its trace.
    """
    f = problem.field
    assert isinstance(f, VectorField)
    known = TRACES.setdefault(_owner(f.f), {}) if _weak(_owner(f.f)) else {}
    key = _key(problem, f)
    found = known.get(key)
    if (
        found is not None
        and not found.traced.stale
        and not (check and _differs(found, problem, f, _first(problem, f, found.lane)))
    ):
        return found
    fresh = _traced(problem, f)
    if len(known) >= MOST_TRACES:
        known.pop(next(iter(known)))
    known[key] = fresh
    return fresh


def _owner(f: Any) -> Any:
    return f.__self__ if inspect.ismethod(f) else f


def _weak(thing: Any) -> bool:
    return type(thing).__weakrefoffset__ != 0 and isinstance(thing, Hashable)


def _key(problem: Problem, f: VectorField) -> tuple[Any, ...]:
    parts: list[Any] = [f.f.__func__ if inspect.ismethod(f.f) else None, problem.batch]
    parts += [sample_of(problem).shape, problem.y0.dtype, problem.batch_size == 1]
    if isinstance(_owner(f.f), nn.Module):
        module = _owner(f.f)
        parts += [tuple(map(id, module.parameters())), tuple(m.training for m in module.modules())]
    for path, leaf in leaves(f.args, ""):
        if isinstance(leaf, Tensor):
            row = _has_rows(leaf, problem)
            parts.append((path, leaf.dtype, leaf.shape[1:] if row else leaf.shape, row))
            parts += [] if leaf.is_floating_point() else [(id(leaf), leaf._version)]
        else:
            parts.append((path, leaf if isinstance(leaf, Hashable) else id(leaf)))
    return tuple(parts)


def _has_rows(leaf: Any, problem: Problem) -> bool:
    batch = problem.batch_size
    ours = isinstance(leaf, Tensor) and leaf.dtype == problem.y0.dtype
    return batch is not None and ours and leaf.dim() > 0 and len(leaf) == batch


def _traced(problem: Problem, f: VectorField) -> Compiled:
    values = [leaf for _, leaf in leaves(f.args, "")]
    floating = [i for i, leaf in enumerate(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    rows = tuple(i for i in floating if _has_rows(values[i], problem))
    error: UnsupportedError | None = None
    for lane in (rows, ()) if rows else ((),):
        shared = tuple(i for i in floating if i not in lane)
        try:
            found = _trace_with(problem, f, values, lane, shared)
            if not _differs(found, problem, f, _places(problem, f, lane)):
                _check_apart(found, problem, f)
                return found
            error = error or UnsupportedError(
                "f is not what its trace of one sample computes: it mixes samples, draws random numbers, or decides "
                "on values"
            )
        except UnsupportedError as trouble:
            error = error or trouble
    assert error is not None
    raise error


def _trace_with(
    problem: Problem, f: VectorField, values: list[Any], lane: tuple[int, ...], shared: tuple[int, ...]
) -> Compiled:
    y = sample_of(problem)

    def one(t: Tensor, state: Tensor, *tensors: Tensor) -> Tensor:
        whole = list(values)
        for i, tensor in zip((*lane, *shared), tensors, strict=True):
            whole[i] = tensor[None] if i in lane else tensor
        field = replace(f, args=rebuild(f.args, iter(whole)))
        if problem.batch is None:
            return field._raw(t, state)
        return field._raw(_time(problem, t.view(1), state[None]), state[None])[0]

    rows = [values[i].detach()[0] for i in lane]
    traced = trace(one, y.new_zeros(()), y, rows, [values[i].detach() for i in shared])
    for tensor in (*traced.captured, *(values[i] for i in shared)):
        if tensor.dtype != y.dtype or tensor.device.type != "cpu":
            raise UnsupportedError(
                f"f uses a tensor of {tensor.dtype} on {tensor.device}, y is {y.dtype} on cpu"
            )
    return Compiled(traced, lane, shared, tuple(row.numel() for row in rows))


def _time(problem: Problem, t: Tensor, y: Tensor) -> Tensor:
    """t (B,) as f gets it beside y."""
    return t.reshape(-1, *(1,) * (y.dim() - 1)) if problem.batch == "independent" else t[0]


def _clocks(problem: Problem, count: int) -> Tensor:
    """t0 of the first few samples."""
    t0 = problem.t0
    return t0[torch.arange(count) % len(t0)] if isinstance(t0, Tensor) else torch.full((count,), t0, dtype=torch.float64)


def _places(problem: Problem, f: VectorField, lane: tuple[int, ...]) -> tuple[Tensor, Tensor, VectorField]:
    """(times, states, f) of a few samples, moved a little so that no two are alike."""
    y0, samples = problem.y0.detach(), problem.batch_size
    if samples is None:
        return _clocks(problem, 1), y0[None], f
    chosen = torch.arange(SAMPLES) % samples
    values = [leaf for _, leaf in leaves(f.args, "")]
    few = [leaf[chosen] if i in lane else leaf for i, leaf in enumerate(values)]
    moved = torch.linspace(1.0, 1.01, SAMPLES, dtype=y0.dtype).reshape(-1, *(1,) * (y0.dim() - 1))
    return _clocks(problem, SAMPLES), y0[chosen] * moved, replace(f, args=rebuild(f.args, iter(few)))


def _first(problem: Problem, f: VectorField, lane: tuple[int, ...]) -> tuple[Tensor, Tensor, VectorField]:
    """As ``_places``, of the first sample as it is."""
    if problem.batch is None:
        return _places(problem, f, lane)
    if lane:
        values = [leaf for _, leaf in leaves(f.args, "")]
        few = [leaf[:1] if i in lane else leaf for i, leaf in enumerate(values)]
        f = replace(f, args=rebuild(f.args, iter(few)))
    return _clocks(problem, 1), problem.y0.detach()[:1], f


def _eager(problem: Problem, f: VectorField, t: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        if problem.batch is None:
            return f._raw(t[0].to(y.dtype), y[0])[None]
        return f._raw(_time(problem, t.to(y.dtype), y), y)


def _differs(found: Compiled, problem: Problem, f: VectorField, places: Places) -> bool:
    """Whether the compiled f is another function than f at some places."""
    t, y, some = places
    want = _eager(problem, some, t, y)
    with torch.no_grad():
        shared = [u.contiguous() for u in found.uniforms(f)]
    _, built = found.build(problem, shared, None)
    y = y.contiguous()
    got = torch.empty_like(y)
    call = Call(samples=len(y))
    call.point(t0=t.contiguous(), y0=y, args=flat_rows(found.lane_tensors(some), len(y), y), y1=got)
    call.share(shared)
    built.evaluate(address(call))
    return not _close(got, want)


def flat_rows(tensors: Sequence[Tensor], samples: int, like: Tensor) -> Tensor:
    """Per-sample arguments side by side, (B, A)."""
    rows = [tensor.detach().reshape(samples, -1) for tensor in tensors]
    return torch.cat(rows, 1).contiguous() if rows else like.new_empty((samples, 0))


def _close(a: Tensor, b: Tensor) -> bool:
    bound = CLOSE[a.dtype]
    if float((a - b).abs().max()) <= bound * float(b.abs().max()):
        return True
    finite = b.abs()[torch.isfinite(b)]
    scale = float(finite.max()) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=bound, atol=bound * scale, equal_nan=True)


def _check_apart(found: Compiled, problem: Problem, f: VectorField) -> None:
    """f of three samples together is f of each."""
    if problem.batch is None:
        return
    t, y, some = _places(problem, f, found.lane)
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
