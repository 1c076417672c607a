"""What f may read besides its arguments: a signature by which an equal f is known, and a quick look for changes.

A trace keeps every number, branch and shape that f took from its surroundings. The walk follows f's code to the
globals, closure cells, defaults and attributes that it names, and on to what those read. The values of tensors are read
anew at every solve: their shapes and dtypes alone belong to the signature.
"""

import functools
import sys
import weakref
from collections.abc import Iterable
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

from .fingerprint import Fingerprint, Probe, Slots
from .reads import reads
from .things import (
    CALLED,
    CONSTRUCTORS,
    INTERNAL,
    PLAIN,
    TENSORS,
    fixed,
    fixed_package,
    is_atom,
    own_classes,
    parts_of,
)

MOST = 5000  # things that are followed


class UnwatchableError(Exception):
    """f reads something whose changes cannot be seen."""


TABLES = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")


def fingerprint(*things: Any, skipped: frozenset[tuple[int, Any]] = frozenset()) -> Fingerprint:
    """What f, and objects among its arguments, read now, but for the places ``skipped``.

    Raises:
        UnwatchableError: something that is read is of a kind whose changes cannot be seen.
    """
    names: frozenset[str] = frozenset()
    dynamic = False
    while True:
        walk = _Walk(names, dynamic, skipped)
        for thing in things:
            walk.visit(thing)
        if walk.found <= names and walk.dynamic == dynamic:
            return Fingerprint(tuple(walk.parts), tuple(walk.tensors), tuple(walk.probes), tuple(walk.kept))
        names, dynamic = names | walk.found, walk.dynamic


class _Walk:
    """One pass over what f reads, given the names of attributes that its code is known to load."""

    def __init__(self, names: frozenset[str], dynamic: bool, skipped: frozenset[tuple[int, Any]]) -> None:
        self.names, self.dynamic, self.skipped = names, dynamic, skipped
        self.found: set[str] = set()
        self.seen: dict[int, int] = {}
        self.parts: list[Any] = []
        self.tensors: list[Tensor] = []
        self.probes: list[Probe] = []
        self.kept: list[Any] = []

    def visit(self, thing: Any) -> None:
        """Take up a value, and what it reads."""
        kind = type(thing)
        if kind in PLAIN:
            self.kept.append(thing)
            self.parts.append((kind, repr(thing) if kind in (float, complex) else thing))
        elif id(thing) in self.seen:
            self.parts.append(("again", self.seen[id(thing)]))
        elif len(self.seen) >= MOST:
            raise UnwatchableError("too much")
        else:
            self.seen[id(thing)] = len(self.seen)
            self._first(thing, kind)

    def _first(self, thing: Any, kind: type) -> None:
        if kind in TENSORS:
            self.tensors.append(thing)
            self.parts.append((tuple(thing.shape), thing.dtype, thing.device.type))
        elif is_atom(thing):
            self.parts.append(thing)
        else:
            self._structure(thing, kind)

    def _structure(self, thing: Any, kind: type) -> None:
        if kind is FunctionType:
            self._function(thing)
        elif kind is MethodType:
            self._all(thing, "method", lambda m: (m.__func__, m.__self__))
        elif kind is functools.partial:
            self._all(
                thing, "partial", lambda p: (p.func, *p.args, *p.keywords.values()), tuple(thing.keywords)
            )
        elif isinstance(thing, (tuple, list, dict, set, frozenset)):
            self._container(thing, kind)
        elif isinstance(thing, ModuleType):
            self._package(thing)
        elif isinstance(thing, type):
            self._class(thing, constructors=not issubclass(thing, nn.Module))
        elif isinstance(thing, nn.Module):
            self._module(thing)
        else:
            self._instance(thing, kind)

    def _all(self, owner: Any, word: str, slots: Slots, more: Any = (), labels: Any = None) -> None:
        """Every value that ``slots`` gives."""
        values = tuple(slots(owner))
        self.parts.append((word, len(values), more))
        held = owner if isinstance(owner, (list, dict, set)) else None
        reference = (lambda: held) if held is not None else weakref.ref(owner)
        self.probes.append(Probe(reference, slots, tuple(map(id, values)), labels, id(owner)))
        for value in values:
            self.visit(value)

    def _named(self, owner: Any, word: str, present: Iterable[str]) -> None:
        """The attributes of ``owner`` that are read by name, also those that it may yet get."""
        wanted = {*self.names, *present} if self.dynamic else self.names
        names = tuple(name for name in sorted(wanted) if (id(owner), name) not in self.skipped)
        self._all(owner, word, lambda x: map(vars(x).get, names), type(owner), names)

    def _package(self, package: ModuleType) -> None:
        name = package.__name__
        if not fixed_package(name) and name.partition(".")[0] in sys.stdlib_module_names:
            raise UnwatchableError(f"the module {name}")
        self.parts.append(package)
        if not fixed_package(name):
            self._named(package, "package", ())

    def _function(self, f: FunctionType) -> None:
        if fixed(f.__module__) and "<locals>" in f.__qualname__:
            self._all(
                f, "wrapper", lambda g: [cell.cell_contents for cell in g.__closure__ or ()], f.__code__
            )
            return
        found = self._read(f.__code__)
        key = id(f)
        names = tuple(n for n in found if (key, n) not in self.skipped)
        free = f.__code__.co_freevars
        cells = tuple(i for i, name in enumerate(free) if (key, f"cell {name}") not in self.skipped)

        def slots(g: FunctionType) -> Iterable[Any]:
            found: list[Any] = [g.__code__, *map(g.__globals__.get, names)]
            closure = g.__closure__
            if closure:
                found += [closure[i].cell_contents for i in cells]
            for table in (
                g.__defaults__,
                g.__kwdefaults__ and g.__kwdefaults__.values(),
                g.__dict__.values(),
            ):
                if table:
                    found += table
            return found

        rest = (len(f.__defaults__ or ()) + len(f.__kwdefaults__ or ()) + len(f.__dict__)) * (None,)
        labels = ("code", *names, *(f"cell {free[i]}" for i in cells), *rest)
        more = (*labels, *(f.__kwdefaults__ or ()), *f.__dict__)
        try:
            self._all(f, "function", slots, more, labels)
        except ValueError as error:
            raise UnwatchableError("an empty cell") from error

    def _read(self, code: CodeType) -> tuple[str, ...]:
        """Note what a code object reads; its global names."""
        found = reads(code)
        if found.imports:
            raise UnwatchableError("an import")
        self.found |= found.attributes
        self.dynamic |= found.dynamic
        return found.variables

    def _container(self, thing: Any, kind: type) -> None:
        if hasattr(thing, "__dict__"):
            raise UnwatchableError(f"a {kind.__name__}")
        self.visit(kind)
        if (id(thing), None) in self.skipped:
            return
        if isinstance(thing, dict):
            self._all(thing, "dict", lambda d: [x for pair in d.items() for x in pair])
        elif isinstance(thing, (list, set)):
            self._all(thing, "list", iter)
        else:
            self.kept.append(thing)
            self.parts.append(len(thing))
            for value in thing:
                self.visit(value)

    def _class(self, kind: type, constructors: bool) -> None:
        self.parts.append(("class", kind))
        for base in own_classes(kind):
            names = tuple(n for n in (*sorted(self.names), *CALLED) if n in base.__dict__)
            names += tuple(n for n in CONSTRUCTORS if constructors and n in base.__dict__)
            slots: Slots = lambda c, names=names: map(c.__dict__.get, names)  # type: ignore[misc] # noqa: E731
            values = tuple(slots(base))
            self.parts.append(names)
            self.probes.append(Probe(weakref.ref(base), slots, tuple(map(id, values)), names, id(base)))
            for value in values:
                for part in parts_of(value):
                    self.visit(part)

    def _module(self, module: nn.Module) -> None:
        if module._forward_hooks or module._forward_pre_hooks:
            raise UnwatchableError("a hook of a module")
        state = module.__dict__
        plain = (
            sorted(state.keys() - INTERNAL) if self._whole(type(module)) else sorted(self.names - INTERNAL)
        )
        names = tuple(n for n in plain if (id(module), n) not in self.skipped)

        def slots(m: nn.Module) -> Iterable[Any]:
            state = m.__dict__
            found = [m.training, len(state), *map(state.get, names)]
            for table in TABLES:
                if state[table]:
                    found += state[table].values()
            return found

        tables = (*module._parameters, "", *module._buffers, "", *module._modules)
        self._all(
            module, "module", slots, (names, tables), ("training", "", *names, *(n for n in tables if n))
        )
        self._of_kind(type(module))

    def _instance(self, thing: Any, kind: type) -> None:
        if not hasattr(thing, "__dict__") or kind.__weakrefoffset__ == 0 or kind.__module__ == "builtins":
            raise UnwatchableError(f"a {kind.__name__}")
        state = vars(thing)
        whole = tuple(n for n in state if (id(thing), n) not in self.skipped)
        if self._whole(kind):
            more = (kind, len(state), *whole)
            self._all(thing, "object", lambda x: [len(vars(x)), *map(vars(x).get, whole)], more, ("", *whole))
        else:
            self._named(thing, "object", state.keys())
        self._of_kind(kind)

    def _whole(self, kind: type) -> bool:
        """Whether code that is not looked at reads such an object's attributes."""
        bases = kind.__mro__[:-1]
        return self.dynamic or any(fixed(base.__module__) for base in bases if base is not nn.Module)

    def _of_kind(self, kind: type) -> None:
        key = -id(kind)  # as the class of an object, which is made already
        if key in self.seen:
            self.parts.append(("again", self.seen[key]))
        else:
            self.seen[key] = len(self.seen)
            self._class(kind, constructors=False)
