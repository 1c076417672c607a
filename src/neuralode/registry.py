"""Name -> method."""

from .methods import (
    Method,
    adams,
    auto,
    bdf,
    collocation,
    diagonal,
    imex,
    rkc2,
    rock4,
    rosenbrock,
    runge_kutta,
    symplectic,
)
from .tableaus import COLLOCATION, DIAGONAL, EXPLICIT, IMEX, ROSENBROCK, SPLITTINGS

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *map(runge_kutta, EXPLICIT),
        *map(diagonal, DIAGONAL),
        *map(rosenbrock, ROSENBROCK),
        *map(imex, IMEX),
        rkc2(),
        adams(),
        adams("abm4", highest=3),
        rock4(),
        *map(symplectic, SPLITTINGS),
        *map(collocation, COLLOCATION),
        bdf(),
    )
}
METHODS["auto"] = auto(METHODS["tsit5"], METHODS["rodas5p"])


def methods() -> tuple[Method, ...]:
    """Every method that ``solve`` knows, as records with ``name, order, stages, kind, adaptive, dense_order``.

    Example:
        >>> [m.name for m in methods() if m.adaptive and m.order == 8]
        ['vern8', 'dop853']
    """
    return tuple(METHODS.values())


def register_method(method: Method) -> None:
    """Add a method, so that ``solve(..., method=method.name)`` finds it.

    Raises:
        TypeError: ``method`` is not a ``neuralode.methods.Method``.
        ValueError: a method of that name is there already.
    """
    if not isinstance(method, Method):
        raise TypeError(f"method must be a Method record, got {type(method).__name__}")
    if method.name in METHODS:
        raise ValueError(f"a method named {method.name!r} is registered already")
    METHODS[method.name] = method
