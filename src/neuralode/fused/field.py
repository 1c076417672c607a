"""The user's f, traced and compiled: once for as long as it stays the same."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..control import NORMS
from ..field import VectorField
from ..layout import leaves, rebuild
from ..problem import Problem
from ..tableaus import Tableau
from .build import CompilerError, library, register_width
from .checks import check_apart, differs, places, time_of
from .graph import UnsupportedError
from .knots import FEWEST
from .source import Shape, Source, write
from .trace import Traced, trace, vjp_of
from .width import check_width, multiply_adds

LIBRARIES: dict[str, ctypes.CDLL] = {}


def empty_cache() -> int:
    """Give back the memory that solves with gradients leave for the next ones; returns its bytes.

    At most 160 MiB for each f and method. To be called while no fused solve runs.
    """
    freed = 0
    for built in LIBRARIES.values():
        built.empty_pool.restype = ctypes.c_int64
        freed += built.empty_pool()
    return freed


@dataclass(eq=False)
class Compiled:
    """f of one sample.

    Attributes:
        lane: which leaves of f's arguments have a row for each sample; shared: which are the same for all.
        built: libraries, by method, norm and wanted gradients.
        refused: why a library cannot be, by the same keys.
        rows: steps that a solve which keeps them is given room for.
    """

    traced: Traced
    lane: tuple[int, ...]
    shared: tuple[int, ...]
    lane_sizes: tuple[int, ...]
    built: dict[Any, tuple[Source, ctypes.CDLL]] = field(default_factory=dict)
    refused: dict[Any, str] = field(default_factory=dict)
    rows: int = FEWEST

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
            if key in self.refused:
                raise UnsupportedError(self.refused[key])
            try:
                self.built[key] = self._library(problem, shape, tableau, uniforms, wanted)
            except CompilerError:
                raise
            except UnsupportedError as error:
                self.refused[key] = str(error)
                raise
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
            inputs = [y.new_zeros(()), y, *(row.detach()[0] for row in self.lane_tensors(f.args))]
            inputs += [u.detach() for u in uniforms]
            vjp = vjp_of(self.traced, inputs, wanted, torch.ones_like(y))
        source = write(self.traced.body, shape, tableau, vjp, wanted or ())
        if source.key not in LIBRARIES:
            LIBRARIES[source.key] = library(source)
        return source, LIBRARIES[source.key]

    @cached_property
    def products(self) -> int:
        """Multiply-adds in f's matrix products."""
        return multiply_adds(self.traced.body)

    def lane_tensors(self, args: Any) -> list[Tensor]:
        """The arguments of f with a row for each sample."""
        return _picked(args, self.lane)

    def uniforms(self, args: Any) -> tuple[Tensor, ...]:
        """The tensors that all samples share, now; differentiable."""
        return self.traced.uniforms(_picked(args, self.shared))


def _picked(args: Any, places: tuple[int, ...]) -> list[Tensor]:
    if not places:
        return []
    values = [leaf for _, leaf in leaves(args, "")]
    return [values[i] for i in places]


def sample_of(problem: Problem) -> Tensor:
    """One sample's state."""
    y = problem.y0.detach()
    return y if problem.batch is None else y[0]


def graded(problem: Problem) -> bool:
    """Whether tolerances differ between entries of the state, or samples."""
    return problem.grid is None and (isinstance(problem.rtol, Tensor) or isinstance(problem.atol, Tensor))


def has_rows(leaf: Any, problem: Problem) -> bool:
    """Whether an argument of f has a row for each sample."""
    batch = problem.batch_size
    ours = isinstance(leaf, Tensor) and leaf.dtype == problem.y0.dtype
    return batch is not None and ours and leaf.dim() > 0 and len(leaf) == batch


def traced(problem: Problem, f: VectorField, limit: int | None) -> Compiled:
    """f compiled, and compared with f at a few places.

    Raises:
        UnsupportedError: f cannot be fused, or its matrix products have more than ``limit`` multiply-adds.
    """
    values = [leaf for _, leaf in leaves(f.args, "")]
    floating = [i for i, leaf in enumerate(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    rows = tuple(i for i in floating if has_rows(values[i], problem))
    error: UnsupportedError | None = None
    for lane in (rows, ()) if rows else ((),):
        shared = tuple(i for i in floating if i not in lane)
        try:
            found = _trace_with(problem, f, values, lane, shared)
            if limit is not None:
                check_width(found.products, limit)
            if not differs(found, problem, f, places(problem, f, lane)):
                check_apart(found, problem, f)
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
        return field._raw(time_of(problem, t.view(1), state[None]), state[None])[0]

    rows = [values[i].detach()[0] for i in lane]
    traced = trace(one, y.new_zeros(()), y, rows, [values[i].detach() for i in shared])
    for tensor in (*traced.captured, *(values[i] for i in shared)):
        if tensor.dtype != y.dtype or tensor.device.type != "cpu":
            raise UnsupportedError(
                f"f uses a tensor of {tensor.dtype} on {tensor.device}, y is {y.dtype} on cpu"
            )
    return Compiled(traced, lane, shared, tuple(row.numel() for row in rows))
