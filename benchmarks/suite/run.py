# ruff: noqa: T201
"""One run of speed.py, from its arguments to tables, pictures and JSON."""

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
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
from .measure import MODES, Effort, Row, rows_of
from .pictures import draw_errors, draw_scaling, draw_times, draw_widths
from .problem import Contender, Problem
from .problems import GRADIENTS, MADE, chosen, hunt, problem
from .scaling import growths, scales
from .tables import CAPTION, print_first_calls, print_growths, print_kept, print_rows, print_walls
from .targets import bounds, kept

QUICK = ("P1", "P3-64", "P5", "P7-van-der-Pol")
TABLES = (*MODES, "first", "scaling", "threads")
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


def report(options: argparse.Namespace, tables: Sequence[str], names: Sequence[str]) -> None:
    """Measure, print as it comes, write at the end."""
    notes: list[str] = []
    taking = list(contenders(notes))
    setting = {
        "versions": versions("torch", "torchdiffeq", "torchode", "diffrax", "jax", "scipy"),
        "processor": processor(), "threads": options.threads, "device": options.device, "dtype": options.dtype,
        "seed": 0, "command": " ".join(["python", "benchmarks/speed.py", *sys.argv[1:]]),
    }  # fmt: skip
    print(", ".join(f"{name} {number}" for name, number in setting["versions"].items()))
    print(
        f"{setting['processor']}, {options.threads} thread(s), {options.device}, {options.dtype}\n{CAPTION}"
    )
    problems = {
        name: problem(name, getattr(torch, options.dtype), options.device, options.quick) for name in names
    }
    effort = Effort(rounds=1, budget=0.5, longest=0.1) if options.quick else Effort()
    rows = measured(problems, [mode for mode in MODES if mode in tables], taking, effort)
    here = {contender.name for contender in taking}
    cells = [cell for cell in FIRST if cell[0] in names][: 1 if options.quick else None]
    calls = first_call.first_calls(cells, options.quick, here, say) if "first" in tables else []
    print_first_calls(calls)
    overhead = call_overhead(taking) if "forward" in tables and options.device == "cpu" else None
    ladders = scales(options.quick)
    grown = (
        growths(options.quick, taking, getattr(torch, options.dtype), options.device, say)
        if "scaling" in tables
        else []
    )
    print_growths(ladders, grown)
    walls = threads.walls(names, options.quick, say) if "threads" in tables else []
    print_walls(walls)
    promises, limits = list(kept(rows)), list(bounds(calls, overhead))
    print_kept(promises, limits)
    if notes:
        print("\n" + "\n".join(notes))
    write_json(
        options.out / "speed.json",
        {
            **setting, "rows": [asdict(row) for row in rows], "first": [asdict(call) for call in calls],
            "scaling": [asdict(growth) for growth in grown], "walls": [asdict(wall) for wall in walls],
            "targets": [{**asdict(one), "met": one.met} for one in promises],
            "bounds": [{**asdict(bound), "met": bound.met} for bound in limits], "notes": notes,
        },
    )  # fmt: skip
    draw(options.out, rows, ladders, grown)


def measured(
    problems: dict[str, Problem], modes: Sequence[str], taking: Sequence[Contender], effort: Effort
) -> list[Row]:
    """The rows of every mode and problem, printed as they come."""
    found: list[Row] = []
    for mode in modes:
        for name, made in problems.items():
            if mode == "gradient" and name not in GRADIENTS:
                continue
            known = {row.contender: row.seconds for row in found if row.problem == name and row.seconds}
            rows = rows_of(made, mode, taking, effort, say, known)
            print_rows(made, mode, rows)
            if name.startswith("P8-"):
                print(f'\nbackend="auto" takes {taken(made)}')
            found += rows
    return found


def call_overhead(taking: Sequence[Contender]) -> float | None:
    """Seconds of a fused solve of next to nothing."""
    made = hunt(1e-3, 2).to(torch.float32)
    fused = next(one for one in taking if one.name == "fused")
    work = fused.forward(made)
    try:
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
