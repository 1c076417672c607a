"""Times on the wall on one and on two threads, each in a process of its own: libraries read their threads once."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import interleaved

from .contenders import contenders
from .problem import RefusedError
from .problems import problem

SCRIPT = Path(__file__).resolve().parents[1] / "speed.py"
CELLS = (
    ("P2b", "forward"), ("P3-4096", "forward"), ("P4", "forward"), ("P5", "forward"), ("P6", "forward"),
    ("P3-4096", "gradient"), ("P4", "gradient"),
)  # fmt: skip
NAMES = ("fused", "fused, lockstep", "eager, lockstep", "torchdiffeq", "diffrax vmap", "diffrax")
SLOW = {("P5", "diffrax vmap"), ("P5", "diffrax")}
ROUNDS, BUDGET = 5, 4.0


@dataclass(frozen=True)
class Walls:
    """Seconds on one thread, ``alone``, and on two, ``together``."""

    problem: str
    mode: str
    contender: str
    alone: float
    together: float


def measure_here(threads: int, names: Sequence[str], quick: bool) -> None:
    """What the process does: prints [problem, mode, contender, seconds], a line each."""
    torch.set_num_threads(threads)
    for name, mode in CELLS:
        if name not in names:
            continue
        made = problem(name, torch.float32, "cpu", quick)
        works: dict[str, Callable[[], Any]] = {}
        for one in contenders([]):
            if one.name not in NAMES or (name, one.name) in SLOW:
                continue
            try:
                work = getattr(one, mode)(made)
                work(made.tol)
            except RefusedError:
                continue
            works[one.name] = partial(work, made.tol)
        for contender, times in interleaved(works, 1 if quick else ROUNDS, BUDGET).items():
            sys.stdout.write(json.dumps([name, mode, contender, times.middle("wall")]) + "\n")


def on(threads: int, names: Sequence[str], quick: bool) -> dict[tuple[str, str, str], float]:
    command = [
        sys.executable,
        str(SCRIPT),
        "--threads",
        str(threads),
        "--problems",
        *names,
        "--child",
        "threads",
    ]
    done = subprocess.run(
        [*command, "--quick"] if quick else command, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {(name, mode, contender): seconds for name, mode, contender, seconds in lines}


def walls(names: Sequence[str], quick: bool, say: Callable[[str], Any]) -> list[Walls]:
    """Of those of the cells whose problem is wanted."""
    if not any(name in names for name, _ in CELLS):
        return []
    say("one thread")
    alone = on(1, names, quick)
    say("two threads")
    together = on(2, names, quick)
    return [Walls(*key, seconds, together[key]) for key, seconds in alone.items() if key in together]
