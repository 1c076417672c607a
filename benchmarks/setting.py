"""What a figure was measured with."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import neuralode

PEERS = ("torchdiffeq", "torchode", "diffrax", "jax", "scipy")


def versions(*names: str) -> dict[str, str]:
    """Of Python, neuralode, and those of ``names`` that are installed."""
    found = {"python": platform.python_version(), "neuralode": neuralode.__version__}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()
