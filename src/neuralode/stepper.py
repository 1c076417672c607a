"""An integration driven by hand: step by step, stopped, saved and gone on with."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .diagnosis import explain
from .engine import device_step, host_step
from .flat import flatten, unflatten
from .layout import Layout, RealPairs
from .problem import Problem
from .solution import Status


@dataclass(frozen=True)
class StepTaken:
    """What one step of a ``Stepper`` did.

    Attributes:
        t, y: where it led.
        h: its size, with the sign of time.
        ratio: its error relative to the tolerance; None for given steps, or where the method judged by itself.
        accepted, rejected: steps so far.
        taken: which samples' steps were accepted, (B,), with batch="independent"; else True.
    """

    t: float | Tensor
    y: Any
    h: float | Tensor
    ratio: float | Tensor | None
    accepted: int | Tensor
    rejected: int | Tensor
    taken: bool | Tensor


class Stepper:
    """An integration that is driven by hand, made by ``Solver.start``. No gradients flow through it.

    It takes the same steps as ``solve``, to the last bit. Iterate over it, or call ``step`` until ``finished``.

    Example:
        >>> import torch
        >>> from neuralode import Solver
        >>> stepper = Solver(rtol=1e-6).start(lambda t, y: -y, (0.0, 1.0), torch.ones(1, dtype=torch.float64))
        >>> for step in stepper:
        ...     if step.t > 0.5:
        ...         break
        >>> saved = stepper.state_dict()  # tensors and plain numbers
        >>> again = Solver(rtol=1e-6).start(lambda t, y: -y, (0.0, 1.0), torch.ones(1, dtype=torch.float64))
        >>> again.load_state_dict(saved)
        >>> (again.t, again.y) == (stepper.t, stepper.y)
        True
    """

    _state: Any

    def __init__(self, problem: Problem, layout: Layout | RealPairs | None, throw: bool) -> None:
        self.problem, self._layout, self._throw = problem, layout, throw
        self.status: Any = Status.SUCCESS
        with torch.no_grad():
            self._state = self._first = self._begin()

    def _begin(self) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def _try(self, state: Any) -> tuple[Any, Any, Any]:
        """(trial, the state after it, the status): one accepted step, or one trip of the samples."""
        raise NotImplementedError

    def _failed(self) -> tuple[Status, int | None, float] | None:
        """(status, sample, last step tried) of an integration that ended early and goes no further."""
        raise NotImplementedError

    @property
    def t(self) -> float | Tensor:
        """Time reached; (B,) with batch="independent"."""
        return self._state.t

    @property
    def y(self) -> Any:
        """The state there, in y0's structure."""
        return self._state.y if self._layout is None else self._layout.unravel(self._state.y)

    @property
    def raveled(self) -> Tensor:
        """The state there as the library's one tensor."""
        state: Tensor = self._state.y
        return state

    @property
    def accepted(self) -> int | Tensor:
        """Steps accepted so far."""
        return self._state.accepted

    @property
    def rejected(self) -> int | Tensor:
        """Steps rejected so far."""
        return self._state.rejected

    @property
    def nfev(self) -> int | Tensor:
        """Evaluations of f so far."""
        return self.problem.field.count

    @property
    def finished(self) -> bool:
        """Whether no step is left: the end of t_span was reached, or the integration failed."""
        raise NotImplementedError

    def step(self) -> StepTaken:
        """Take one step; with batch="independent" one trial step of every sample that has not ended.

        Raises:
            ValueError: ``finished``.
            SolverError: the integration cannot go on (``throw=True``).
        """
        if self.finished:
            raise ValueError(f"no step is left: the integration ended at t = {self.t}")
        with torch.no_grad():
            trial, self._state, self.status = self._try(self._state)
        failure = self._failed()
        if failure is not None and self._throw:
            raise explain(self.problem, failure[0], failure[1], self._state.t, failure[2], self._state.y)
        return StepTaken(
            t=self.t,
            y=self.y,
            h=0.0 if trial is None else trial.h,
            ratio=None if trial is None else trial.ratio,
            accepted=self.accepted,
            rejected=self.rejected,
            taken=trial is not None and trial.accepted,
        )

    def __iter__(self) -> Iterator[StepTaken]:
        while not self.finished:
            yield self.step()

    def _tree(self, state: Any) -> dict[str, Any]:
        tally = self.problem.field.tally
        counts = {"calls": tally.count, "rows": tally.rows, "jacobians": tally.jacobians}
        return {
            "method": self.problem.method.name, "state": state._asdict(), "counts": counts, "status": self.status
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on, as tensors and plain numbers, strings and None by name."""
        return {
            name: int(x) if isinstance(x, Status) else x
            for name, x in flatten(self._tree(self._state)).items()
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from a state that a stepper of the same solver, f, t_span and shape of y0 has saved.

        Raises:
            ValueError: it belongs to another method, or to another problem's state.
        """
        if saved.get("method") != self.problem.method.name:
            raise ValueError(
                f"the state is one of method {saved.get('method')!r}, not {self.problem.method.name!r}"
            )
        y, own = saved.get("state.y"), flatten({"y": self.problem.y0})["y"]
        if not isinstance(y, Tensor) or (y.shape, y.dtype) != (own.shape, own.dtype):
            raise ValueError(
                f"the state holds y of shape {tuple(getattr(y, 'shape', ()))}, y0 has {tuple(own.shape)}"
            )
        found = self._fitted(dict(saved))
        tally, counts = self.problem.field.tally, found["counts"]
        tally.count, tally.rows, tally.jacobians = counts["calls"], counts["rows"], counts["jacobians"]
        self._state, self.status = type(self._state)(**found["state"]), found["status"]

    def _fitted(self, saved: dict[str, Any]) -> dict[str, Any]:
        """The saved values in the structure of a state: that before the first step, or else that after one."""
        try:
            return unflatten(self._tree(self._first), saved)
        except KeyError:
            with torch.no_grad():
                _, grown, _ = self._try(self._first)
        try:
            return unflatten(self._tree(grown), saved)
        except KeyError as error:
            raise ValueError(f"the state is not one of this problem: {error.args[0]}") from error


class JointStepper(Stepper):
    """The stepper of a state that steps as one: batch None or "lockstep"."""

    def _begin(self) -> host_step.State:
        first = host_step.begin(self.problem)
        if not math.isfinite(first.size):
            self.status = Status.FIRST_NONFINITE
        self._last = 0.0
        return first

    def _try(self, state: host_step.State) -> tuple[host_step.Trial | None, host_step.State, Status]:
        p, s = self.problem, state
        if p.grid is None:
            trial, after, status = host_step.take(p, s)
        elif s.accepted == p.max_steps:
            trial, after, status = None, s, Status.MAX_STEPS
        else:
            trial, after, status = host_step.given(p, s)
            if status == 0 and not bool(torch.isfinite(after.y).all()):
                status = Status.NONFINITE
        self._last = 0.0 if trial is None else trial.h
        return trial, after, status

    def _failed(self) -> tuple[Status, int | None, float] | None:
        return None if self.status >= 0 else (self.status, None, self._last)

    @property
    def finished(self) -> bool:
        return self._state.t == self.problem.t1 or self.status < 0


class SamplesStepper(Stepper):
    """The stepper of samples that step by themselves."""

    def _begin(self) -> device_step.State:
        first = device_step.begin(self.problem)
        self.status = first.status
        return first

    def _try(self, state: device_step.State) -> tuple[device_step.Trial, device_step.State, Tensor]:
        p, s = self.problem, state
        trips = int((s.accepted + s.rejected).max())
        if p.grid is None:
            trial, s = device_step.attempt(p, s)
            s = device_step.advance(p, s, trial, trial.t1)
        else:
            trial, s = device_step.given(p, s, p.grid[trips], p.grid[trips + 1])
            s = device_step.advance(p, s, trial, trial.t1)
            s = s._replace(running=(s.status == 0) & (s.t != p.t1))
        if trips + 1 == p.max_steps:
            late = torch.where(s.running, int(Status.MAX_STEPS), s.status)
            s = s._replace(status=late, running=torch.zeros_like(s.running))
        return trial, s, s.status

    def _failed(self) -> tuple[Status, int | None, float] | None:
        bad = self._state.status < 0
        if not self.finished or not bool(bad.any()):
            return None
        sample = int(bad.int().argmax())
        return Status(int(self._state.status[sample])), sample, float(self._state.h[sample])

    @property
    def nfev(self) -> Tensor:
        """Evaluations that each sample would have made alone, (B,)."""
        return self._state.nfev

    @property
    def finished(self) -> bool:
        return not bool(self._state.running.any())


def start(problem: Problem, layout: Layout | RealPairs | None, throw: bool) -> Stepper:
    """The stepper at the start of a problem."""
    problem = replace(problem, y0=problem.y0.detach())
    kind = SamplesStepper if problem.batch == "independent" else JointStepper
    return kind(problem, layout, throw)
