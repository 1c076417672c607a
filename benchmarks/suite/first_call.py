"""What a first call takes in a fresh process: with an empty cache on disk, and with the one that this has filled."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .contenders import contenders
from .problems import problem

SCRIPT = Path(__file__).resolve().parents[1] / "speed.py"
NAMES = ("fused", "diffrax vmap", "diffrax")
CACHES = {
    "NEURALODE_CACHE": "neuralode",
    "JAX_COMPILATION_CACHE_DIR": "jax",
}
ALWAYS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@dataclass(frozen=True)
class FirstCall:
    """Seconds of the processor, a compiler's too: of the first call ``cold``, of the first call from the disk's cache
    ``warm``, and of a new f in that process, from the disk's cache too, ``again``: without what a process does once."""

    problem: str
    mode: str
    contender: str
    cold: float
    warm: float
    again: float


def measure_here(name: str, contender: str, mode: str, quick: bool) -> None:
    """What the fresh process does: prints the seconds of two first calls, each of an f of its own."""
    by = next(one for one in contenders([]) if one.name == contender)
    seconds = []
    for _ in range(2):
        made = problem(name, torch.float32, "cpu", quick)
        work = getattr(by, mode)(made)
        start = spent()
        work(made.tol)
        seconds.append(spent() - start)
    sys.stdout.write(json.dumps(seconds) + "\n")


def spent() -> float:
    """Seconds of the processor until now, children's too."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def in_fresh_process(name: str, contender: str, mode: str, quick: bool, caches: Path) -> tuple[float, float]:
    places = {variable: str(caches / folder) for variable, folder in CACHES.items()}
    command = [sys.executable, str(SCRIPT), "--child", "first", name, contender, mode]
    done = subprocess.run(
        [*command, "--quick"] if quick else command, env={**os.environ, **places, **ALWAYS}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    first, second = json.loads(done.stdout.splitlines()[-1])
    return first, second


def first_calls(
    cells: Sequence[tuple[str, str]], quick: bool, here: set[str], say: Callable[[str], Any]
) -> list[FirstCall]:
    """Of each (problem, mode) and of those contenders that take part and take it."""
    found = []
    for name, mode in cells:
        for contender in NAMES:
            if contender not in here or (contender == "diffrax vmap" and name == "P1"):
                continue
            say(f"first call {name} {mode} {contender}")
            with tempfile.TemporaryDirectory() as folder:
                cold, _ = in_fresh_process(name, contender, mode, quick, Path(folder))
                warm, again = in_fresh_process(name, contender, mode, quick, Path(folder))
            found.append(FirstCall(name, mode, contender, cold, warm, again))
    return found
