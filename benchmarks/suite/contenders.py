"""Who takes part."""

import importlib
from collections.abc import Iterator

from . import by_diffrax, by_neuralode, by_scipy, by_torchdiffeq, by_torchode
from .problem import Contender

PEERS = {
    "torchdiffeq": by_torchdiffeq.contenders,
    "torchode": by_torchode.contenders,
    "diffrax": by_diffrax.contenders,
}


def contenders(notes: list[str]) -> Iterator[Contender]:
    """Ours, SciPy and every peer that can be imported; of the rest ``notes`` gets the reason."""
    yield from by_neuralode.contenders()
    for code, peers in PEERS.items():
        try:
            importlib.import_module(code)
        except Exception as reason:  # noqa: BLE001 - a peer that breaks beside this torch fails in its own way
            notes.append(f"{code} takes no part: {str(reason).splitlines()[0]}")
        else:
            yield from peers()
    yield from by_scipy.contenders()
