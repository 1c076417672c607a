"""What a module with a solve inside has: the solver's options as attributes, and the evaluations counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Self

from torch import Tensor, nn

from ..solution import Solution
from ..solve import Solver

OPTIONS = tuple(field.name for field in fields(Solver))


class Solving(nn.Module):
    """A module that solves an ODE. Every option of `neuralode.solve` is an attribute, to be set at any time.

    Args:
        **solver: options of `neuralode.solve` but t_eval, args and events; batch is "lockstep" by default.

    Attributes:
        nfev: evaluations of the field in the last solve; of the slowest sample with batch="independent".
        nfev_backward: those that its backward pass has made so far.

    Raises:
        TypeError: an option that `solve` does not have, with the nearest that it has.
    """

    method: str
    rtol: Any
    atol: Any
    batch: str | None
    gradient: Any
    backend: Any
    step: float | Tensor | None
    max_steps: int

    def __init__(self, **solver: Any) -> None:
        super().__init__()
        check_options(solver)
        self.solver = Solver(**{"batch": "lockstep", **solver})
        self.nfev = 0
        self._count_backward: Callable[[], int] | None = None

    @property
    def nfev_backward(self) -> int:
        """Evaluations that the backward pass of the last solve has made so far."""
        return 0 if self._count_backward is None else self._count_backward()

    @contextmanager
    def using(self, **solver: Any) -> Iterator[Self]:
        """Other options inside a `with` block: `with block.using(rtol=1e-2): ...`."""
        check_options(solver)
        kept = self.solver
        self.solver = kept.using(**solver)
        try:
            yield self
        finally:
            self.solver = kept

    def integrate(
        self, f: Callable[..., Any], t_span: Any, y0: Any, t_eval: Any = None, args: tuple[Any, ...] = ()
    ) -> Solution:
        """Solve with this module's options, and count."""
        solution = self.solver.solve(f, t_span, y0, t_eval=t_eval, args=args)
        nfev = solution.nfev
        self.nfev = int(nfev.max()) if isinstance(nfev, Tensor) else nfev
        self._count_backward = solution.backward_count
        return solution

    def __getattr__(self, name: str) -> Any:
        if name in OPTIONS and "solver" in self.__dict__:
            return getattr(self.solver, name)
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OPTIONS:
            self.solver = self.solver.using(**{name: value})
        else:
            super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_count_backward": None}

    def extra_repr(self) -> str:
        """The options that differ from those of `neuralode.solve`."""
        standard = Solver()
        changed = {name: getattr(self.solver, name) for name in OPTIONS}
        return ", ".join(f"{k}={v!r}" for k, v in changed.items() if v is not getattr(standard, k))


def check_options(names: Any) -> None:
    """Raise for a name that is not an option of `neuralode.solve`."""
    for name in names:
        if name not in OPTIONS:
            near = get_close_matches(name, OPTIONS, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{name!r} is not an option of the solver.{guess} Accepted: {', '.join(OPTIONS)}")
