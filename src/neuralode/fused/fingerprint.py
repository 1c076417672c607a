"""What f reads, at one moment, and the quick look whether it is still the same."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Slots = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Probe:
    """Where values stand: ``slots(owner())`` were the objects ``ids``; ``labels`` are their names."""

    owner: Callable[[], Any]
    slots: Slots
    ids: tuple[int, ...]
    labels: tuple[Any, ...] | None
    key: int


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What f reads, at one moment.

    Attributes:
        signature: equal for functions that compute the same of equal tensors, arguments apart.
        tensors: in the order in which the walk met them.
    """

    signature: tuple[Any, ...]
    tensors: tuple[Tensor, ...]
    probes: tuple[Probe, ...]
    kept: tuple[Any, ...]  # numbers, whose addresses would be used again

    def same(self) -> bool:
        """Whether every place still holds the same object."""
        try:
            return all(tuple(map(id, probe.slots(probe.owner()))) == probe.ids for probe in self.probes)
        except (AttributeError, ValueError, KeyError, TypeError):  # an owner, or a place, that is gone
            return False

    def written(self, before: "Fingerprint") -> frozenset[tuple[int, Any]]:
        """Places that differ from what they were ``before`` f was called: f itself writes there."""
        old = {probe.key: probe for probe in before.probes}
        found = set()
        for probe in self.probes:
            was = old.get(probe.key)
            if was is None or was.ids == probe.ids:
                continue
            if probe.labels is None or probe.labels != was.labels:
                found.add((probe.key, None))
            else:
                pairs = zip(probe.labels, probe.ids, was.ids, strict=True)
                found.update((probe.key, label) for label, now, then in pairs if now != then)
        return frozenset(found)
