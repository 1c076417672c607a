"""Which f's are known already, and how a change of them is seen."""

import operator
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..field import VectorField
from ..layout import leaves
from ..problem import Problem
from .build import CompilerError
from .checks import differs, first, places
from .field import Compiled, has_rows, sample_of, traced
from .fingerprint import Fingerprint
from .graph import UnsupportedError
from .guard import UnwatchableError, fingerprint
from .things import PLAIN

MOST_TRACES = 16  # of one f: dtypes, shapes of arguments
MOST_PROGRAMS = 64  # of functions that may be made anew
OFTEN = 1024  # solves between two comparisons with f


class Same:
    """A dictionary's key for one object, while its values are not changed in place."""

    def __init__(self, thing: Any) -> None:
        counted = isinstance(thing, Tensor) and not thing.is_inference()
        self.thing, self.version = thing, thing._version if counted else 0

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing and self.version == other.version


@dataclass(eq=False)
class Known:
    """A compiled f, and how to see that it has changed.

    Attributes:
        compiled: None where f cannot be fused, and ``refusal`` says why.
        watched: what f reads, None where that cannot be looked at.
        skipped: what f itself writes.
        modes: of an f that cannot be watched and is a module: its parameters, and which parts are being trained.
        uses: solves so far.
    """

    compiled: Compiled | None
    watched: Fingerprint | None
    skipped: frozenset[tuple[int, Any]] = frozenset()
    modes: tuple[Any, ...] = ()
    uses: int = 0
    refusal: str = ""

    def quick(self, check: bool | str) -> bool:
        """Whether f is surely the same, and no comparison is due; counts a use."""
        if self.compiled is None or self.compiled.traced.stale or check == "always":
            return False
        if check and (is_due(self.uses + 1) or self.watched is None or not self.watched.same()):
            return False
        self.uses += 1
        return True

    def refreshed(self, things: Sequence[Any]) -> bool:
        """Whether f reads other objects, but equal ones."""
        assert self.watched is not None
        try:
            now = fingerprint(*things, skipped=self.skipped)
        except UnwatchableError:
            return False
        old = self.watched
        same = now.signature == old.signature and all(map(operator.is_, now.tensors, old.tensors))
        if same:
            self.watched = now
        return same


def is_due(use: int) -> bool:
    """Whether the compiled f is compared with f at this use: the 1st, 2nd, 4th, ..., later at equal distances."""
    return use % OFTEN == 0 or (use < OFTEN and use & (use - 1) == 0)


@dataclass(eq=False)
class Table:
    """What is known of one f.

    Attributes:
        known: by shapes, dtypes and plain arguments.
        blind: whether f was seen to depend on what the walk does not find.
        recipes: solves that may be repeated.
    """

    known: dict[Any, Known] = field(default_factory=dict)
    blind: bool = False
    recipes: list[Any] = field(default_factory=list)


TABLES: dict[int, tuple[weakref.ref[Any], Table]] = {}
PROGRAMS: dict[Any, tuple[Compiled, tuple[int, ...]]] = {}


def table_of(f: Any) -> Table:
    """What is known of f; an empty table that nobody keeps where f cannot be referred to weakly."""
    owner = owner_of(f)
    known = known_table(owner)
    if known is not None:
        return known
    key, table = id(owner), Table()
    with suppress(TypeError):
        TABLES[key] = weakref.ref(owner, lambda _: TABLES.pop(key, None)), table
    return table


def known_table(owner: Any) -> Table | None:
    """The table of this very object (equal ones have their own)."""
    entry = TABLES.get(id(owner))
    return entry[1] if entry is not None and entry[0]() is owner else None


def owner_of(f: Any) -> Any:
    """What lives as long as f does: itself, or the object whose method it is."""
    return f.__self__ if type(f) is MethodType else f


def function_of(f: Any) -> Any:
    """Which method of its owner f is; None for no method."""
    return f.__func__ if type(f) is MethodType else None


def compiled(problem: Problem, check: bool | str, limit: int | None) -> tuple[Known, Compiled, Table]:
    """f's program: a new one where f, or anything the program depends on but values of tensors, is new.

    ``limit``: of the multiply-adds in f's matrix products, for one sample.

    Raises:
        UnsupportedError: f cannot be traced, or mixes samples, or its values are not those of its trace.
    """
    f = problem.field
    assert isinstance(f, VectorField)
    table = table_of(f.f)
    key = (limit, *_key(problem, f))
    known = table.known.get(key)
    if known is None or not _holds(known, table, problem, f, check):
        known = _found(problem, f, key, table.blind)
        if len(table.known) >= MOST_TRACES:
            table.known.pop(next(iter(table.known)))
        table.known[key] = known
    if known.compiled is None:
        raise UnsupportedError(known.refusal)
    return known, known.compiled, table


def _holds(known: Known, table: Table, problem: Problem, f: VectorField, check: bool | str) -> bool:
    """Whether f is the same."""
    if known.compiled is None:
        return _still_refused(known, f)
    if known.compiled.traced.stale:
        return False
    known.uses += 1
    if not check:
        return True
    watched = known.watched
    if watched is None:
        if known.modes != _modes(f.f):
            return False
    elif not watched.same() and not known.refreshed(_things(f)):
        return False
    elif check is True and not is_due(known.uses):
        return True
    if differs(known.compiled, problem, f, first(problem, f, known.compiled.lane)):
        if watched is not None:  # nothing that was learnt of this f can be trusted
            table.blind = True
            table.known.clear()
            table.recipes.clear()
        return False
    # What has changed in that call of f is f's own doing.
    if known.watched is not None and not known.watched.same():
        known.watched, known.skipped = _watched_after(_things(f), known.watched, known.skipped)
    return True


def _still_refused(known: Known, f: VectorField) -> bool:
    """Whether an f that could not be fused is the same; one that cannot be watched is taken to be."""
    if known.watched is None:
        return known.modes == _modes(f.f)
    return known.watched.same() or known.refreshed(_things(f))


def _watched_after(
    things: Sequence[Any], before: Fingerprint, skipped: frozenset[tuple[int, Any]]
) -> tuple[Fingerprint | None, frozenset[tuple[int, Any]]]:
    """What f reads after it was called, without what it wrote there itself."""
    try:
        now = fingerprint(*things, skipped=skipped)
        skipped |= now.written(before)
        return (fingerprint(*things, skipped=skipped) if skipped else now), skipped
    except UnwatchableError:
        return None, skipped


def _found(problem: Problem, f: VectorField, key: Any, blind: bool) -> Known:
    """A program made for an equal f, or a new one."""
    before = None
    if not blind:
        with suppress(UnwatchableError):
            before = fingerprint(*_things(f))
    name = None if before is None else (before.signature, key)
    compiled = None if before is None else _rebound(PROGRAMS.get(name), before, problem, f)
    refusal = ""
    if compiled is None:
        try:
            compiled = traced(problem, f, key[0])
        except CompilerError:
            raise
        except UnsupportedError as error:
            refusal = str(error)
    if before is None:
        return Known(compiled, None, modes=_modes(f.f), refusal=refusal)
    if compiled is not None:
        _remember(name, compiled, before)
    watched, skipped = _watched_after(_things(f), before, frozenset())
    return Known(compiled, watched, skipped, _modes(f.f), refusal=refusal)


def _remember(name: Any, found: Compiled, watched: Fingerprint) -> None:
    """Keep a program for functions of the same signature, without the tensors of this one."""
    order = {id(tensor): i for i, tensor in enumerate(watched.tensors)}
    trace = found.traced
    if not trace.baked and all(id(tensor) in order for tensor in trace.captured):
        if len(PROGRAMS) >= MOST_PROGRAMS:
            PROGRAMS.pop(next(iter(PROGRAMS)), None)
        spots = tuple(order[id(tensor)] for tensor in trace.captured)
        PROGRAMS[name] = replace(found, traced=replace(trace, captured=())), spots


def _rebound(
    entry: tuple[Compiled, tuple[int, ...]] | None, watched: Fingerprint, problem: Problem, f: VectorField
) -> Compiled | None:
    """A program of an equal f with this one's tensors, if it computes what f does."""
    if entry is None:
        return None
    found, spots = entry
    bound = replace(found, traced=replace(found.traced, captured=tuple(watched.tensors[i] for i in spots)))
    return None if differs(bound, problem, f, places(problem, f, bound.lane)) else bound


def _things(f: VectorField) -> list[Any]:
    """f, and what of its arguments is neither a tensor nor plain."""
    values = [leaf for _, leaf in leaves(f.args, "")]
    return [f.f, *(value for value in values if not isinstance(value, Tensor) and type(value) not in PLAIN)]


def _modes(f: Any) -> tuple[Any, ...]:
    """A module's parameters, and which parts are being trained."""
    module = owner_of(f)
    if not isinstance(module, nn.Module):
        return ()
    return (*map(Same, module.parameters()), *(m.training for m in module.modules()))


def _key(problem: Problem, f: VectorField) -> tuple[Any, ...]:
    parts: list[Any] = [function_of(f.f), problem.batch]
    parts += [sample_of(problem).shape, problem.y0.dtype, problem.batch_size == 1, torch.get_default_dtype()]
    if f.layout is not None:
        parts += [repr(getattr(f.layout, "tree", None)), *getattr(f.layout, "shapes", ())]
    for path, leaf in leaves(f.args, ""):
        if isinstance(leaf, Tensor):
            row = has_rows(leaf, problem)
            parts.append((path, leaf.dtype, leaf.shape[1:] if row else leaf.shape, row))
            parts += [] if leaf.is_floating_point() else [Same(leaf)]
        else:
            parts.append((path, type(leaf), _plain(leaf)))
    return tuple(parts)


def _plain(leaf: Any) -> Any:
    """A plain argument as a key: floats by what they print, which tells zeros apart and NaN equal."""
    if type(leaf) in PLAIN:
        return repr(leaf) if isinstance(leaf, (float, complex)) else leaf
    return Same(leaf)
