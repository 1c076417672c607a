"""What was promised, beside what was measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from .first_call import FirstCall
from .measure import Row, ratio, ratio_at_equal_error

COLUMNS = ("P1", "P2", "P2b", "P3-64", "P3-4096", "P4", "P5", "P6")
VMAP, JOINT, DIFFEQ = ("diffrax vmap",), ("diffrax",), ("torchdiffeq",)
ANY_DIFFRAX = ("diffrax vmap", "diffrax", "diffrax, backsolve")
ANY_DIFFEQ = ("torchdiffeq", "torchdiffeq, adjoint")


@dataclass(frozen=True)
class Promise:
    """The better of ``ours`` is ``least`` times as fast as the best of ``peers``, by problem."""

    title: str
    ours: Sequence[str]
    mode: str
    peers: Sequence[str]
    least: Mapping[str, float]


FUSED, EAGER = ("fused", "fused, lockstep"), ("eager", "eager, lockstep")
PROMISES = (
    Promise(
        "fused, forward, diffrax vmap", ("fused",), "forward", VMAP,
        {"P2": 15, "P2b": 50, "P3-64": 4, "P3-4096": 6, "P4": 2.3, "P6": 50},
    ),
    Promise(
        "fused, forward, diffrax as one system", FUSED, "forward", JOINT,
        {"P1": 6, "P2": 15, "P3-64": 2.5, "P3-4096": 2.5, "P4": 1.6},
    ),
    Promise(
        "fused, forward, torchdiffeq", FUSED, "forward", DIFFEQ,
        {"P1": 3000, "P2": 1000, "P2b": 300, "P3-64": 80, "P3-4096": 9, "P4": 8, "P6": 80},
    ),
    Promise(
        "fused, gradient, diffrax's best", FUSED, "gradient", ANY_DIFFRAX, {"P3-64": 10, "P3-4096": 5, "P4": 3}
    ),
    Promise(
        "fused, gradient, torchdiffeq's best", FUSED, "gradient", ANY_DIFFEQ, {"P3-64": 60, "P3-4096": 7, "P4": 3.5}
    ),
    Promise(
        "eager, forward, torchdiffeq", EAGER, "forward", DIFFEQ, {"P1": 3, "P3-64": 3, "P4": 1.05, "P5": 1.4}
    ),
    Promise("eager, forward, torchode", ("eager",), "forward", ("torchode",), {"P2": 1.3}),
    Promise("eager, gradient, torchdiffeq's best", EAGER, "gradient", ANY_DIFFEQ, {"P3-64": 1.4}),
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """A promise on one problem; ``met`` by the ratio at equal error, where there is one.

    Attributes:
        wanted: None where nothing was promised.
        equal_tolerance, equal_error: the peer's time over ours.
        ours, peer: whose times these are.
    """

    title: str
    problem: str
    wanted: float | None
    equal_tolerance: float
    equal_error: float | None
    ours: str
    peer: str

    @property
    def value(self) -> float:
        return self.equal_tolerance if self.equal_error is None else self.equal_error

    @property
    def met(self) -> bool:
        return self.wanted is None or self.value >= self.wanted


def kept(rows: Sequence[Row]) -> Iterator[Kept]:
    """Every promise on every problem that was measured."""
    value = attrgetter("value")
    for promise in PROMISES:
        for problem in COLUMNS:
            timed = [
                row
                for row in rows
                if row.problem == problem and row.mode == promise.mode and row.seconds is not None
            ]
            ours, peers = (
                [r for r in timed if r.contender in names] for names in (promise.ours, promise.peers)
            )
            if ours and peers:
                against = [[_kept(promise, own, peer) for peer in peers] for own in ours]
                yield max((min(row, key=value) for row in against), key=value)


def _kept(promise: Promise, ours: Row, peer: Row) -> Kept:
    return Kept(
        promise.title, ours.problem, promise.least.get(ours.problem), ratio(peer, ours),
        ratio_at_equal_error(peer, ours), ours.contender, peer.contender,
    )  # fmt: skip


@dataclass(frozen=True)
class Bound:
    """A time that is not to be passed."""

    title: str
    seconds: float
    most: float

    @property
    def met(self) -> bool:
        return self.seconds <= self.most


def bounds(calls: Sequence[FirstCall], overhead: float | None) -> Iterator[Bound]:
    """Of the builds, and of a call."""
    fused = [call for call in calls if call.contender == "fused"]
    if fused:
        cold, again = max(fused, key=lambda call: call.cold), max(fused, key=lambda call: call.again)
        yield Bound(f"first call, cold ({cold.problem} {cold.mode})", cold.cold, 5.0)
        yield Bound(
            f"first call of an f from the disk's cache ({again.problem} {again.mode})", again.again, 0.1
        )
    if overhead is not None:
        yield Bound("one call of a solve of one step", overhead, 20e-6)
