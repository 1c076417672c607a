"""What a function's code reads besides its arguments: global names and names of attributes."""

import builtins
import dis
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

DYNAMIC = frozenset(
    ("getattr", "vars", "eval", "exec", "globals", "locals", "__dict__", "attrgetter", "__getattribute__")
)
ATTRIBUTES = frozenset(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"))
GLOBALS = frozenset(("LOAD_GLOBAL", "LOAD_NAME"))


@dataclass(frozen=True)
class Reads:
    """Names that a code object, and those inside it, load.

    Attributes:
        variables: global names, without those of Python's own functions.
        attributes: what stands behind a point.
        dynamic: whether attributes may be read by names that the code does not show.
        imports: whether it imports.
    """

    variables: tuple[str, ...]
    attributes: frozenset[str]
    dynamic: bool
    imports: bool


@lru_cache(maxsize=1024)
def reads(code: CodeType) -> Reads:
    """What a code object reads."""
    variables: dict[str, None] = {}
    attributes: set[str] = set()
    imports = False
    pending = [code]
    while pending:
        part = pending.pop()
        pending += [inner for inner in part.co_consts if isinstance(inner, CodeType)]
        for each in dis.get_instructions(part):
            if each.opname in GLOBALS:
                variables[each.argval] = None
            elif each.opname in ATTRIBUTES:
                attributes.add(each.argval)
            imports |= each.opname == "IMPORT_NAME"
    dynamic = not DYNAMIC.isdisjoint(attributes | set(variables))
    own = tuple(name for name in variables if not hasattr(builtins, name))
    return Reads(own, frozenset(attributes), dynamic, imports)
