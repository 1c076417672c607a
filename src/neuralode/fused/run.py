"""A problem through the compiled solver: a ``Run`` as the eager loops make it."""

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import NORMS, Controller, PIDController, StepControl
from ..engine import Run
from ..engine.host_loop import culprit
from ..field import VectorField
from ..ops import merge, transforming
from ..problem import Problem
from ..solution import Status
from .call import Call, address, array_of, flat_rows
from .field import graded
from .graph import UnsupportedError
from .knots import Room, every_step
from .source import Source

COUNTS = ("status", "accepted", "rejected", "nfev", "before", "worst", "t", "h", "none")
NO_MEMORY = 2  # as in cpp/call.hpp
CHUNK = 64  # samples that a thread takes at once, as in cpp/forward.hpp


class Tape:
    """The accepted steps of every sample, in memory of the library's own."""

    def __init__(self, built: ctypes.CDLL, threads: int) -> None:
        self.pieces = array_of(ctypes.c_void_p, threads)()
        self._finalizer = weakref.finalize(self, built.release, self.pieces, ctypes.c_int64(threads))


def refuse(problem: Problem) -> None:
    """Raise UnsupportedError for what the fused backend does not do."""
    p = problem
    reasons = (
        (p.y0.device.type != "cpu", "the state is not on the CPU"),
        (p.y0.dtype not in (torch.float32, torch.float64), "the state is {p.y0.dtype}"),
        (p.method.tableau is None, "method {p.method.name!r} is no explicit Runge-Kutta method"),
        (p.watch is not None, "events are not fused"),
        (p.progress is not None, "progress is not fused"),
        (p.norm is not NORMS["rms"] and p.norm is not NORMS["max"], "a norm of your own is not fused"),
        (
            not isinstance(p.controller, (Controller, PIDController)),
            "the controller is not one of 'pi', 'i', 'pid'",
        ),
        (p.autocast[2], "autocast is on"),
        (transforming(), "a torch.func transform is active"),
        (p.y0.numel() == 0, "the state is empty"),
        (not isinstance(p.field, VectorField), "f is a pair"),
    )
    for holds, words in reasons:
        if holds:
            raise UnsupportedError(f"backend='fused' cannot take this solve: {words.format(p=p)}")


def exponents(control: StepControl, order: int) -> tuple[float, float, float]:
    """Of the last three error ratios, in the factor between two steps."""
    if isinstance(control, PIDController):
        return tuple(-b / order for b in control.beta)  # type: ignore[return-value]
    assert isinstance(control, Controller)
    return -control.alpha / order, control.beta / order, 0.0


def threads_for(samples: int) -> int:
    """Threads that have at least a chunk each."""
    return max(1, min(torch.get_num_threads(), -(-samples // CHUNK)))


def point_times(call: Call, p: Problem) -> None:
    """Set t0, t1 and the direction, for each sample."""
    for name, value in (("t0", p.t0), ("t1", p.t1), ("sign", p.sign)):
        if isinstance(value, Tensor):
            call.point(**{name: value.contiguous()})
        elif call.samples == 1:
            call.arrays(ctypes.c_double, **{name: (value,)})
        else:
            call.point(**{name: torch.full((call.samples,), value, dtype=torch.float64)})


def times_of(values: Any) -> tuple[Tensor, int, int]:
    """(times, steps in memory from one to the next, from one sample to the next)."""
    if not isinstance(values, Tensor):
        return torch.tensor(values, dtype=torch.float64), 1, 0
    if values.shape[1] > 1 and values.stride(1) == 0:
        return values, values.stride(0), 0
    values = values.contiguous()
    return values, values.stride(0), values.stride(1)


def prepared(problem: Problem) -> Call:
    """The call with a problem's settings, and its times."""
    p, samples = problem, problem.batch_size or 1
    order = p.method.error_order + 1
    control = p.controller
    call = Call(samples=samples, max_steps=p.max_steps, threads=threads_for(samples))
    if not isinstance(p.rtol, Tensor) and not isinstance(p.atol, Tensor):
        call.rtol, call.atol = p.rtol, p.atol
    call.first_step, call.min_step, call.max_step = p.first_step or 0.0, p.min_step, p.max_step
    call.k, call.safety, call.smallest, call.largest = (
        order,
        control.safety,
        control.smallest,
        control.largest,
    )
    call.exponent[:] = exponents(control, order)
    point_times(call, p)
    times, call.time_row, call.time_column = times_of([] if every_step(p) else p.times)
    call.outputs = len(times)
    call.point(times=times)
    if p.grid is not None:
        grid, call.grid_row, call.grid_column = times_of(p.grid)
        call.grid_steps = max(1, len(grid) - 1)
        call.max_steps = min(p.max_steps, call.grid_steps)
        call.point(grid=grid)
    return call


class Outcome(NamedTuple):
    """What a compiled solve has written.

    Attributes:
        ys, last: outputs, and the last accepted states.
        numbers: rows as ``COUNTS``, B entries each: t and h are doubles, and the last row is zero. Behind them, the
            evaluations of all samples.
        failed: whether some sample has not come to its end.
        room: the steps themselves, where they are wanted.
    """

    call: Call
    ys: Tensor
    last: Tensor
    numbers: Any
    failed: bool
    tape: Tape | None
    room: Room | None = None

    @property
    def counts(self) -> Tensor:
        """``numbers`` as whole numbers, (R, B)."""
        rows, samples = len(COUNTS), self.call.samples
        return torch.frombuffer(self.numbers, dtype=torch.int64, count=rows * samples).view(rows, samples)

    @property
    def evaluations(self) -> int:
        """Of f, by all samples."""
        return int(self.numbers[len(self.numbers) - 1])


@dataclass(frozen=True, eq=False)
class Plan:
    """What solves of one f, by one method and with the same settings, have in common.

    Attributes:
        template: the settings.
        wanted: places of f's inputs, in the order of its trace, that have a gradient besides y; None: no gradients.
            ``source`` and ``built`` are for that.
        lanes: how many of f's tensors differ between samples; they are the first.
        evaluations: of f in a step; carried: 1 where a step begins with the slope of the one before.
        single: whether all samples end together.
        levels: tolerances that differ between entries or samples.
    """

    template: Call
    source: Source
    built: ctypes.CDLL
    wanted: tuple[int, ...] | None
    lanes: int
    evaluations: int
    carried: int
    single: bool
    levels: tuple[Tensor, ...] = ()


def launch(
    plan: Plan, y0: Tensor, tensors: Sequence[Tensor], ys: Tensor, record: bool, room: Room | None = None
) -> Outcome:
    """Run a compiled solve from y0 with f's ``tensors``, into ``ys`` and ``room``; with ``record`` there is a tape."""
    call, built = plan.template.copy(), plan.built
    lanes = (*tensors[: plan.lanes], *plan.levels)
    shared = [tensor.contiguous() for tensor in tensors[plan.lanes :]]
    samples = call.samples
    start = y0.contiguous()
    last = torch.empty_like(start)
    numbers = array_of(ctypes.c_int64, len(COUNTS) * samples + 1)()
    place = ctypes.addressof(numbers)
    for name in COUNTS[:-1]:
        setattr(call, name, place)
        place += 8 * samples
    call.evaluations = place + 8 * samples
    call.y0, call.ys, call.y1 = start.data_ptr(), ys.data_ptr(), last.data_ptr()
    call.keep(start, numbers)
    if lanes:
        call.point(args=flat_rows(lanes, samples))
    if shared:
        call.share(shared)
    if room is not None:
        room.show(call)
    tape = Tape(built, call.threads) if record else None
    if tape is not None:
        call.tapes = ctypes.addressof(tape.pieces)
    verdict = built.forward(address(call))
    if verdict == NO_MEMORY:
        raise MemoryError("the fused solve ran out of memory")
    outcome = Outcome(call, ys, last, numbers, bool(verdict), tape, room)
    if room is not None and (longest := int(outcome.counts[1].max())) > room.rows:
        return launch(plan, y0, tensors, ys, record, room.larger(longest))
    return outcome


def _culprit(problem: Problem, status: int, worst: int, last: Tensor) -> int | None:
    """The sample that a batch in lockstep failed by."""
    if problem.batch is None or status >= 0:
        return None
    if problem.grid is not None:
        return culprit(problem, last) if status == Status.NONFINITE else None
    return worst


def levels_of(p: Problem) -> tuple[Tensor, ...]:
    """Tolerances that differ between entries of the state or samples, as f's arguments lie; none otherwise."""
    if not graded(p):
        return ()
    return tuple(torch.as_tensor(level, dtype=p.y0.dtype).expand_as(p.y0) for level in (p.rtol, p.atol))


def blank(template: Call, y0: Tensor) -> Tensor:
    """Outputs that are not reached yet."""
    return y0.new_full((template.outputs, *y0.shape), torch.nan)


def end_of(outcome: Outcome, single: bool) -> Tensor:
    """The states at t1; NaN where it was not reached. ``single``: all samples end together."""
    last = outcome.last
    if not outcome.failed:
        return last
    good = outcome.counts[0] == Status.SUCCESS
    lost = torch.full_like(last, torch.nan)
    return lost if single else merge(good, last, lost)


def tensors_of(outcome: Outcome, single: bool) -> tuple[Tensor, ...]:
    """What a derivative can be taken of, as ``Run.tensors``."""
    ys, y1, room = outcome.ys, end_of(outcome, single), outcome.room
    if room is None:
        return ys, y1
    accepted = outcome.counts[1]
    return room.states(accepted, outcome.last) if room.every else ys, y1, *room.kept(accepted)


def as_run(p: Problem, outcome: Outcome, tensors: tuple[Tensor, ...]) -> Run:
    """The run as the eager loops make it, of what ``tensors_of`` gave; counts what was evaluated."""
    counts, last, room = outcome.counts, outcome.last, outcome.room
    ys, y1, *kept = tensors
    status, accepted, rejected, nfev, _, worst, t, h, none = counts
    t, h = t.view(torch.float64), h.view(torch.float64)
    single = p.samples is None
    tally = p.field.tally
    before = tally.count  # of earlier legs, and at ends that have gradients
    tally.count += int(nfev.max())
    tally.rows += outcome.evaluations

    def plain(x: Tensor) -> Any:
        return x[0].item() if single else x

    return Run(
        ys=ys,
        y1=y1,
        last=last,
        knots=None if room is None else room.knots(single, kept),
        times=p.times if room is None or not room.every else room.times(p, accepted, status),
        status=Status(int(status[0])) if single else status,
        t=plain(t),
        h=plain(h),
        sample=_culprit(p, int(status[0]), int(worst[0]), last) if single else None,
        nfev=plain(nfev + before),
        njev=0 if single else none,
        accepted=plain(accepted),
        rejected=plain(rejected),
        report={},
        tape=outcome.tape,
    )
