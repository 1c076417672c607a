"""Times of several works, in rounds through all of them, so that a change of the machine's load meets all alike."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

K = TypeVar("K", bound=Hashable)
LEAST = 0.05  # seconds: what is shorter is repeated inside, or the clock's grain and cold caches would show


@dataclass
class Times:
    """Seconds of each repeat: of the processor's time, all threads, and of the clock on the wall."""

    processor: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def middle(self, clock: str = "processor") -> float:
        return statistics.median(getattr(self, clock))


def once(work: Callable[[], Any], inside: int = 1) -> tuple[float, float]:
    """(processor, wall) seconds of one of ``inside`` repeats; the caches are those of the work before until a first."""
    if inside > 1:
        work()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(inside):
        work()
    return (time.process_time() - processor) / inside, (time.perf_counter() - wall) / inside


def interleaved(works: Mapping[K, Callable[[], Any]], rounds: int, budget: float) -> dict[K, Times]:
    """Rounds through all works; one that has used ``budget`` seconds of the processor rests. Each is warm already."""
    found = {key: Times() for key in works}
    inside: dict[K, int] = {}
    for _ in range(rounds):
        for key, work in works.items():
            times = found[key]
            if sum(times.processor) * inside.get(key, 1) >= budget:
                continue
            processor, wall = once(work, inside.get(key, 1))
            if key not in inside:
                inside[key] = max(1, round(LEAST / max(1e-6, processor)))
                if inside[key] > 1:
                    processor, wall = once(work, inside[key])
            times.processor.append(processor)
            times.wall.append(wall)
    return found
