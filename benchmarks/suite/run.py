# ruff: noqa: T201
"""One run of speed.py, from its arguments to tables, pictures and JSON."""

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from setting import processor, versions
from timing import interleaved

import neuralode
from neuralode.whole import write_json

from . import first_call, threads
from .by_neuralode import taken
from .contenders import contenders
from .first_call import FirstCall
from .measure import MODES, Effort, Row, rows_of
from .pictures import draw_errors, draw_scaling, draw_times, draw_widths
from .problem import Contender
from .problems import GRADIENTS, MADE, chosen, hunt, problem
from .scaling import Growth, growths, scales
from .tables import CAPTION, print_first_calls, print_growths, print_kept, print_rows, print_walls
from .targets import bounds, kept
from .threads import Walls

QUICK = ("P1", "P3-64", "P5", "P7-van-der-Pol")
TABLES = (*MODES, "first", "scaling", "threads")
SETTLED = 2048  # solves after which only every 1024th compares
FIRST = (
    ("P1", "forward"), ("P2", "forward"), ("P3-64", "forward"), ("P4", "forward"), ("P6", "forward"),
    ("P3-64", "gradient"), ("P4", "gradient"),
)  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """What speed.py does once the threads are set."""
    torch.set_num_threads(options.threads)
    # Of tolerances that a float32 does not resolve, in the ladders.
    warnings.simplefilter("ignore", neuralode.SolverWarning)
    if options.child:
        kind, *words = options.child
        if kind == "first":
            first_call.measure_here(*words, options.quick)
        else:
            threads.measure_here(options.threads, options.problems, options.quick)
        return
    tables = wanted("tables", options.tables, TABLES)
    wanted("problems", options.problems, {*MADE, *(name.split("-")[0] for name in MADE)})
    report(options, tables, chosen(options.problems or (QUICK if options.quick else list(MADE))))


def wanted(kind: str, given: Sequence[str] | None, known: Any) -> list[str]:
    """What is given, or all.

    Raises:
        SystemExit: one of them is not known.
    """
    unknown = [name for name in given or () if name not in known]
    if unknown:
        raise SystemExit(f"--{kind}: got {' '.join(unknown)}, takes {' '.join(sorted(known))}")
    return list(given or known)


@dataclass
class Results:
    """What was measured until now."""

    setting: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    first: list[FirstCall] = field(default_factory=list)
    scaling: list[Growth] = field(default_factory=list)
    walls: list[Walls] = field(default_factory=list)
    overhead: float | None = None
    notes: list[str] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """All of it, whole; after every table, so that a run cut off leaves what it has."""
        tables = {name: getattr(self, name) for name in ("rows", "first", "scaling", "walls")}
        content = {name: [asdict(one) for one in table] for name, table in tables.items()}
        content["targets"] = [{**asdict(one), "met": one.met} for one in kept(self.rows)]
        content["bounds"] = [
            {**asdict(bound), "met": bound.met} for bound in bounds(self.first, self.overhead)
        ]
        write_json(out / "speed.json", {**self.setting, **content, "notes": self.notes})


def report(options: argparse.Namespace, tables: Sequence[str], names: Sequence[str]) -> None:
    """Measure; print and write as it comes."""
    setting = {
        "versions": versions("torch", "torchdiffeq", "torchode", "diffrax", "jax", "scipy"),
        "processor": processor(), "threads": options.threads, "device": options.device, "dtype": options.dtype,
        "seed": 0, "command": " ".join(["python", "benchmarks/speed.py", *sys.argv[1:]]),
    }  # fmt: skip
    found = Results(setting)
    taking = list(contenders(found.notes))
    print(", ".join(f"{name} {number}" for name, number in setting["versions"].items()))
    print(
        f"{setting['processor']}, {options.threads} thread(s), {options.device}, {options.dtype}\n{CAPTION}"
    )
    measured(options, names, [mode for mode in MODES if mode in tables], taking, found)
    if "forward" in tables and options.device == "cpu":
        found.overhead = call_overhead(taking)
    if "first" in tables:
        here = {contender.name for contender in taking}
        cells = [cell for cell in FIRST if cell[0] in names][: 1 if options.quick else None]
        found.first = first_call.first_calls(cells, options.quick, here, say)
        print_first_calls(found.first)
        found.write(options.out)
    for scale in scales(options.quick) if "scaling" in tables else ():
        grown = growths(scale, taking, getattr(torch, options.dtype), options.device, say)
        print_growths(scale, grown)
        found.scaling += grown
        found.write(options.out)
    if "threads" in tables:
        found.walls = threads.walls(names, options.quick, say)
        print_walls(found.walls)
    print_kept(list(kept(found.rows)), list(bounds(found.first, found.overhead)))
    print("\n" + "\n".join(found.notes))
    found.write(options.out)
    draw(options.out, found.rows, scales(options.quick), found.scaling)


def measured(
    options: argparse.Namespace,
    names: Sequence[str],
    modes: Sequence[str],
    taking: Sequence[Contender],
    found: Results,
) -> None:
    """Every mode and problem, into ``found`` and onto the screen."""
    effort = Effort(rounds=1, budget=0.5, longest=0.1) if options.quick else Effort()
    for mode in modes:
        for name in names if mode == "forward" else [name for name in names if name in GRADIENTS]:
            made = problem(name, getattr(torch, options.dtype), options.device, options.quick)
            known = {row.contender: row.seconds for row in found.rows if row.problem == name and row.seconds}
            rows = rows_of(made, mode, taking, effort, say, known)
            print_rows(made, mode, rows)
            if name.startswith("P8-"):
                print(f'\nbackend="auto" takes {taken(made)}')
            found.rows += rows
            found.write(options.out)


def call_overhead(taking: Sequence[Contender]) -> float | None:
    """Seconds of a fused solve of next to nothing, once f is no longer compared with its compiled form often."""
    made = hunt(1e-3, 2).to(torch.float32)
    fused = next(one for one in taking if one.name == "fused")
    work = fused.forward(made)
    try:
        for _ in range(SETTLED):
            work(made.tol)
    except Exception:  # noqa: BLE001 - no compiler: the tables say so
        return None
    return interleaved({"call": lambda: work(made.tol)}, 5, 2.0)["call"].middle()


def draw(out: Path, rows: Sequence[Row], ladders: Any, grown: Any) -> None:
    if rows:
        draw_times(out / "speed_times.png", rows)
        draw_errors(out / "speed_errors.png", rows)
        draw_widths(out / "speed_widths.png", rows)
    if grown:
        draw_scaling(out / "speed_scaling.png", ladders, grown)


def say(line: str) -> None:
    """Progress, where it is not in the tables' way."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()
