"""Fully implicit Runge-Kutta methods of collocation type: Radau IIA and Gauss (Hairer & Wanner, Solving ODEs II, IV.8).

The unknowns are Z_i = u(t + c_i h) - y with Z = h (A x I) F(y + Z). Newton's matrix I - h A x J is split by the
eigenvalues of A into systems I - h lambda J of the size of one state, real and complex.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, merge, spread, stage_times
from ..tableaus.collocation import Collocation
from . import implicit
from .collocation_systems import Solver, factorised, inverse, numbers
from .implicit import corrected, flags, plain, refreshed, trouble
from .linear import coupled, linearize
from .method import Carry, Field, Method, Stages, Step
from .newton import LEFT_IN_A_ROOT, Root, newton, rough, smallest

# A contraction of Newton's iteration from which a new Jacobian pays, if the iteration was not over at once.
SLOW = 1e-3
SHORT = 2


class Past(NamedTuple):
    """A collocation polynomial: Z (R, s, n) and the step's length (1,) or (B,), zero where there is none."""

    z: Tensor
    h: Tensor


class Work(NamedTuple):
    """What is handed from trial to trial; masks are (1,), or (B,) per sample.

    Attributes:
        shared: the Jacobian and the rate of Newton's iteration; ``stale`` where it should be renewed behind this step.
        t: where the last trial started: the next one starts elsewhere if and only if that trial was accepted.
        fresh: whose Jacobian is that of the last trial's start.
        slope: f(t, y), where errors are estimated.
        tried, past: the polynomials of the last trial and of the last accepted step before it.
    """

    shared: implicit.Work
    t: Size | None = None
    fresh: Any = None
    slope: Tensor | None = None
    solver: Solver | None = None
    tried: Any = None
    past: Any = None


def begin(tolerance: Tolerance) -> Work:
    """Before the first step nothing is known."""
    return Work(implicit.begin(tolerance))


def sized(h: Size, x: Tensor) -> Any:
    """h as a factor of x (R, ...)."""
    return spread(h, x) if isinstance(h, Tensor) else h


def weights(tableau: Collocation, h: Size, like: Tensor) -> Tensor:
    """h A, (s, s) or (B, s, s)."""
    a = numbers(tableau.matrix, like.dtype, like.device)
    return sized(h, a[None]) * a if isinstance(h, Tensor) else h * a


def slopes(tableau: Collocation, f: Field, t: Size, h: Size, y: Tensor) -> Callable[[Tensor], Tensor]:
    """The function Z -> F(y + Z), (R, s, n)."""
    times = stage_times(t, h, tableau.nodes, y)

    def call(z: Tensor) -> Tensor:
        values = [f(time, y + part.reshape(y.shape)) for time, part in zip(times, z.unbind(1), strict=True)]
        return torch.stack([f.rows(value) for value in values], 1)

    return call


def predicted(tableau: Collocation, past: Past | None, h: Size, like: Tensor) -> Tensor:
    """The stages where the polynomial of the step before goes on, zeros without one; ``like`` is (R, n)."""
    if past is None:
        return like.new_zeros(len(like), tableau.stages, like.shape[1])
    ends, rows, nodes = (
        numbers(v, torch.float64, like.device) for v in (tableau.ends, tableau.dense, tableau.nodes)
    )
    known = past.h != 0
    ratio = torch.where(known, h / torch.where(known, past.h, 1.0), 0.0)
    theta = 1 + ratio[:, None] * nodes
    powers = torch.stack([theta ** (k + 1) for k in range(tableau.stages)], -1)
    combination = (powers @ rows.mT - ends) * known[:, None, None]
    return combination.to(like.dtype) @ past.z


def follow(work: Work, t: Size, h: Size, y: Tensor) -> tuple[Work, Tensor]:
    """(the work with what only an accepted step changes brought up to date, whose last trial was accepted)."""
    if work.t is None:
        return work, flags(h, y, True)
    moved = t != work.t if isinstance(t, Tensor) else flags(h, y, t != work.t)
    past = Past(merge(moved, work.tried.z, work.past.z), torch.where(moved, work.tried.h, work.past.h))
    shared = work.shared._replace(stale=work.shared.stale & moved)
    return work._replace(shared=shared, past=past, fresh=work.fresh & ~moved), moved


@dataclass(frozen=True)
class Polynomials:
    """The steps of a tableau."""

    tableau: Collocation

    def init(self, f: Field, t: Size, y: Tensor) -> Carry:
        """Nothing is carried: a step begins with y alone."""
        return ()

    def step(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        """One polynomial, with its error where the tableau estimates it."""
        start = stage_times(t, h, (0.0,), y)[0]
        first = work.t is None
        work, moved = follow(work, t, h, y)
        shared, made = refreshed(f, start, h, y, work.shared)
        work = work._replace(shared=shared, fresh=made if work.fresh is None else made | work.fresh)
        root, work, repeated = self._solve(f, t, h, y, work, made)
        z = merge(root.converged, root.x, torch.zeros_like(root.x))
        found = self._taken(y, z)
        calls = self.tableau.stages * root.iterations
        if self.tableau.first is not None and shared.tolerance.given:
            work = work._replace(slope=begun(f, start, y, work.slope, moved))
            again = moved if first else ~moved
            error, refined = estimate(self.tableau, f, start, h, y, found.y1, z, work, again)
            found, calls = found._replace(error=error), calls + moved + refined
        assert work.solver is not None
        singular = torch.stack([system.singular for system in work.solver.systems]).any(0)
        lengths = h if isinstance(h, Tensor) else torch.full((1,), h, dtype=torch.float64, device=y.device)
        past = work.past or Past(torch.zeros_like(z), torch.zeros_like(lengths))
        return found._replace(
            work=work._replace(t=t, tried=Past(z, lengths), past=past),
            calls=plain(calls, h),
            jacobians=plain(made.long() + repeated, h),
            trouble=trouble(root.converged, singular, h),
        )

    def dense(self, theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """The polynomial itself."""
        powers = [theta]
        for _ in self.tableau.dense[1:]:
            powers.append(powers[-1] * theta)
        total = y
        for row, z in zip(self.tableau.dense, stages, strict=True):
            weight = sum((number * power for number, power in zip(row, powers, strict=True)), 0.0 * theta)
            total = total + sized(weight, z) * z
        return total

    def retake(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        """The polynomial as a differentiable function, by the Jacobians at its own stages."""
        z = torch.stack([f.rows(part) for part in stages], 1).detach()
        if isinstance(h, Tensor):
            z = merge(h == 0, torch.zeros_like(z), z)
        at = zip(stage_times(t, h, self.tableau.nodes, y), z.unbind(1), strict=True)
        linears = [linearize(f, time, y.detach() + part.reshape(y.shape)) for time, part in at]
        call, ha = slopes(self.tableau, f, t, h, y), weights(self.tableau, h, z)
        return self._taken(y, corrected(lambda z: z - ha @ call(z), coupled(linears, ha), z))

    def _taken(self, y: Tensor, z: Tensor) -> Step:
        """The step along a polynomial."""
        stages = tuple(part.reshape(y.shape) for part in z.unbind(1))
        y1 = y + sum(end * part for end, part in zip(self.tableau.ends, stages, strict=True) if end)
        return Step(y1, None, (), stages)

    def _solve(
        self, f: Field, t: Size, h: Size, y: Tensor, work: Work, renewed: Tensor
    ) -> tuple[Root, Work, Tensor]:
        """Newton's iteration; once more with a new Jacobian for those that it fails with an old one."""
        assert work.shared.linear is not None
        guess = predicted(self.tableau, work.past, h, f.rows(y))
        solver = factorised(self.tableau, work.shared.linear, h, work.solver)
        now, seen, unsure = implicit.doubted(h, work.shared, renewed)
        root = self._iterate(f, t, h, y, guess, solver, work.shared, unsure)
        again = ~root.converged & ~work.fresh
        shared = work.shared
        if bool(again.any()):
            assert shared.linear is not None
            newer = linearize(f, stage_times(t, h, (0.0,), y)[0], y, implicit.ROUGH)
            linear = shared.linear.renewed(again, newer)
            solver = factorised(self.tableau, linear, h, None)
            shared = shared._replace(linear=linear)
            second = self._iterate(f, t, h, y, guess, solver, shared, unsure & ~again)
            second = second._replace(iterations=root.iterations + second.iterations)
            root = Root(*(merge(again, new, old) for new, old in zip(second, root, strict=True)))
        slow = root.converged & (root.iterations > SHORT) & (root.theta > SLOW)
        seen = torch.where((root.iterations > 1) | again, now, seen)
        shared = shared._replace(stale=slow, rate=root.rate, size=seen)
        return root, work._replace(shared=shared, solver=solver, fresh=work.fresh | again), again

    def _iterate(
        self,
        f: Field,
        t: Size,
        h: Size,
        y: Tensor,
        guess: Tensor,
        solver: Solver,
        shared: implicit.Work,
        unsure: Tensor,
    ) -> Root:
        call, ha = slopes(self.tableau, f, t, h, y), weights(self.tableau, h, guess)
        tolerance = shared.tolerance
        unit = f.rows(tolerance.weights(y))

        def size(delta: Tensor) -> Tensor:
            parts = torch.stack([tolerance.sizes(part / unit) for part in delta.unbind(1)])
            return torch.linalg.vector_norm(parts, dim=0) * self.tableau.stages**-0.5

        # y1 is of order five, its estimate of order three: steps are better than the tolerance, and roots must be too.
        left = min(LEFT_IN_A_ROOT, smallest(tolerance) ** 0.5)
        systems = tuple(rough(system, tolerance, 1 / unit, left) for system in solver.systems)
        system = inverse(self.tableau, solver._replace(systems=systems))
        return newton(
            lambda z: z - ha @ call(z), system, guess, size, tolerance, shared.rate, left, unsure=unsure
        )


def collocation(tableau: Collocation) -> Method:
    """The method of a tableau."""
    polynomials = Polynomials(tableau)
    return Method(
        name=tableau.name,
        order=tableau.order,
        stages=tableau.stages,
        kind="implicit Runge-Kutta",
        adaptive=tableau.first is not None,
        error_order=tableau.error_order,
        dense_order=tableau.stages,
        evaluations=tableau.stages,
        init=polynomials.init,
        step=polynomials.step,
        dense=polynomials.dense,
        source=tableau.source,
        begin=begin,
        retake=polynomials.retake,
        real=True,
        gradients=("direct", "discrete", "checkpointed", "interpolated", "steady"),
        repeatable=True,
        controller="predictive",
    )


def begun(f: Field, start: Tensor, y: Tensor, slope: Tensor | None, moved: Tensor) -> Tensor:
    """f(t, y), evaluated where a step begins at a new place."""
    if slope is None:
        return f(start, y)
    return merge(moved, f(start, y), slope) if bool(moved.any()) else slope


def estimate(
    tableau: Collocation,
    f: Field,
    start: Tensor,
    h: Size,
    y: Tensor,
    y1: Tensor,
    z: Tensor,
    work: Work,
    again: Tensor,
) -> tuple[Tensor, Tensor]:
    """(the error, who has had it filtered twice): Hairer & Wanner II, eqs. IV.8.19 and 8.20.

    ``again`` marks first steps and those behind a rejection, where the filter is applied once more if the error would
    reject them.
    """
    assert work.solver is not None and work.slope is not None and tableau.first is not None
    tolerance, system = work.shared.tolerance, work.solver.systems[0]
    stages = torch.einsum("i,rin->rn", numbers(tableau.error, z.dtype, z.device), z)

    def filtered(slope: Tensor) -> Tensor:
        return system.solve(sized(h, stages) * tableau.first * f.rows(slope) + stages).reshape(y.shape)

    error = filtered(work.slope)
    again = again & (tolerance.sizes(f.rows(tolerance.scaled(error, y, y1))) > 1)
    if bool(again.any()):
        error = merge(again, filtered(f(start, y + error)), error)
    return error, again
