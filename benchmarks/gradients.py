# ruff: noqa: T201
"""What does a gradient cost, and how right is it? Ours beside torchdiffeq's and diffrax's, in one process, one thread.

Usage: python gradients.py [--problems spiral cnf conv vdp contracting lorenz chain rest trained] [--quick]
                           [--out FOLDER]

Measures for the first four problems the error of every gradient against a tight reference, evaluations of f and
products with its Jacobian, peak memory and processor time; for the others how far what walks the path back drifts;
and the memory against the number of steps. Writes gradients.json, gradients_costs.png, gradients_drift.png and
gradients_memory.png into the folder, and prints the tables in Markdown. torchdiffeq and diffrax take part where they
are installed (the extra `bench` has them). Times leave out what diffrax compiles. --quick: small problems, seconds.
"""

import argparse
import gc
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gradient_cases import COSTS, DRIFTS, Case, spiral
from gradient_mode import Mode
from gradient_modes import admitted, attempted, every, method_of, ours, reference
from gradient_pictures import draw_costs, draw_drift, draw_memory
from gradient_tables import print_costs, print_drifts, print_growths
from operations import OfTorch
from setting import versions
from timing import interleaved
from torch import Tensor

import neuralode
from neuralode.whole import write_json

ROUNDS, BUDGET = 5, 4.0  # of each way, unless it has used so many seconds of a case
STEPS, FEW_STEPS = (100, 320, 1000, 3200, 10_000), (20, 60)
SPAN = 0.125  # short, so that a path of few steps can be walked back


@dataclass(frozen=True)
class Cost:
    """One way to a gradient of one problem; what was not reached is None, and ``note`` says why.

    Attributes:
        error: |g - reference| / |reference|.
        off: |g - direct| / |direct|, for the same steps; ours only.
        ratio: processor time over that of torchdiffeq's faster way.
    """

    problem: str
    code: str
    gradient: str
    method: str
    error: float | None
    off: float | None
    forward: int | None
    backward: int | None
    vjps: int | None
    memory: int | None
    seconds: float | None
    ratio: float | None
    note: str


@dataclass(frozen=True)
class Drift:
    """How wrong one way is on one problem, and what its walk back has missed y0 by, in tolerances."""

    problem: str
    code: str
    gradient: str
    method: str
    error: float | None
    drift: float | None
    note: str


@dataclass(frozen=True)
class Growth:
    """Peak bytes in tensors at each number of steps, and the bytes of a step's record in Python.

    Attributes:
        exponent: of the bytes in N, over the upper half of the ladder, where what does not grow weighs least.
    """

    gradient: str
    method: str
    steps: list[int]
    bytes: list[int]
    exponent: float
    record: float


def miss(found: Tensor | None, want: Tensor | None) -> float | None:
    if found is None or want is None:
        return None
    return float((found - want).norm() / want.norm())


def seconds_of(modes: Sequence[Mode], rounds: int) -> dict[Mode, float]:
    """Median processor time, in rounds through all of them."""
    works = {mode: partial(attempted, mode.timed) for mode in modes}
    return {mode: times.middle() for mode, times in interleaved(works, rounds, BUDGET).items()}


def costs_of(case: Case, rounds: int, notes: list[str]) -> list[Cost]:
    """Every way's; the first gradient of each is not timed."""
    want, modes = reference(case), list(every(case, notes))
    found = {mode: attempted(mode.gradient) for mode in modes}
    seconds = seconds_of([mode for mode in modes if found[mode][0] is not None], rounds)
    theirs = [spent for mode, spent in seconds.items() if mode.code == "torchdiffeq"]
    rows = []
    for mode in modes:
        got, note = found[mode]
        counts = attempted(mode.counts)[0] if got is not None else None
        spent = seconds.get(mode)
        rows.append(
            Cost(
                case.name, mode.code, mode.name, mode.method, miss(got, want), off_direct(case, mode, got),
                counts and counts.forward, counts and counts.backward, counts and counts.vjps,
                attempted(mode.memory)[0] if got is not None else None,
                spent, spent / min(theirs) if spent and theirs else None, note,
            )
        )  # fmt: skip
    return rows


def off_direct(case: Case, mode: Mode, got: Tensor | None) -> float | None:
    """How far one of ours is from autograd through the steps of the same method."""
    if mode.code != "neuralode" or mode.name == "direct":
        return None
    return miss(got, ours(replace(case, method=mode.method), "direct").gradient())


def drifts_of(case: Case, notes: list[str]) -> list[Drift]:
    want, rows = reference(case), []
    for mode in every(case, notes):
        got, note = attempted(mode.gradient)
        drift = mode.drift()
        rows.append(Drift(case.name, mode.code, mode.name, mode.method, miss(got, want), drift, note))
    return rows


def growth_of(gradient: str, ladder: Sequence[int]) -> Growth:
    """Memory of constant steps of a third-order method through a small spiral: a state of 64 numbers."""
    small = spiral(small=True)
    case = replace(small, t_span=(0.0, SPAN), y0=small.y0.repeat(4, 1), method="bosh3")

    def mode(steps: int) -> Mode:
        return ours(case, gradient, step=SPAN / steps, max_steps=2 * steps)

    held = [mode(steps).memory() for steps in ladder]
    upper = slice(len(ladder) // 2, None) if len(ladder) > 2 else slice(None)
    exponent = float(np.polyfit(np.log(ladder[upper]), np.log(held[upper]), 1)[0])
    records = [record_of(case, gradient, steps) for steps in ladder[:2]]
    each = (records[1] - records[0]) / (ladder[1] - ladder[0])
    return Growth(gradient, method_of(case, gradient), list(ladder), held, exponent, each)


def record_of(case: Case, gradient: str, steps: int) -> int:
    """Bytes that Python's allocator holds between the forward and the backward pass."""
    y0 = case.y0.clone().requires_grad_()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = neuralode.solve(
        case.field(case.params), case.t_span, y0, method=method_of(case, gradient), gradient=gradient, step=SPAN / steps
    )  # fmt: skip
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    case.loss(OfTorch, kept.y1).backward()
    return held


def growths(ladder: Sequence[int], notes: list[str]) -> list[Growth]:
    found = []
    for name in admitted(spiral(small=True)):
        growth, note = attempted(lambda name=name: growth_of(name, ladder))
        if growth is None:
            notes.append(f"memory of {name}: {note}")
        else:
            found.append(growth)
    return found


def targets(costs: Sequence[Cost], growths: Sequence[Growth]) -> list[dict[str, Any]]:
    """What is promised, beside the worst that was measured."""
    found = []
    for name, most in (("discrete", 2.0), ("checkpointed", 3.05)):
        rows = [row for row in costs if row.code == "neuralode" and row.gradient == name]
        if rows:
            off = max(row.off for row in rows)
            work = max((row.forward + row.backward) / row.forward for row in rows)
            found += [
                (f"{name}: off autograd through the same steps", off, 1e-12),
                (f"{name}: evaluations of f over those of the forward pass", work, most),
            ]
    last = {growth.gradient: growth.bytes[-1] for growth in growths}
    if last and growths[0].steps[-1] >= STEPS[-1]:
        share = last["checkpointed"] / last["direct"]
        found.append((f"checkpointed: memory over that of direct, {STEPS[-1]} steps", share, 0.05))
    return [{"what": what, "value": value, "bound": bound} for what, value, bound in found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", choices=[*COSTS, *DRIFTS], default=[*COSTS, *DRIFTS])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    torch.set_num_threads(1)
    notes: list[str] = []
    cases = {name: {**COSTS, **DRIFTS}[name](options.quick) for name in options.problems}
    costs = {
        name: costs_of(case, 1 if options.quick else ROUNDS, notes)
        for name, case in cases.items()
        if name in COSTS
    }
    drifts = {name: drifts_of(case, notes) for name, case in cases.items() if name in DRIFTS}
    growth = growths(FEW_STEPS if options.quick else STEPS, notes)
    reached = targets([row for rows in costs.values() for row in rows], growth)
    content = {
        "versions": versions("torch", "torchdiffeq", "diffrax", "jax"),
        "seed": 0,
        "threads": 1,
        "costs": {name: [asdict(row) for row in rows] for name, rows in costs.items()},
        "drift": {name: [asdict(row) for row in rows] for name, rows in drifts.items()},
        "memory": [asdict(row) for row in growth],
        "targets": reached,
        "notes": list(dict.fromkeys(notes)),
    }
    write_json(options.out / "gradients.json", content)
    titles = {name: case.title for name, case in cases.items()}
    if costs:
        draw_costs(options.out / "gradients_costs.png", costs, titles)
    if drifts:
        draw_drift(options.out / "gradients_drift.png", drifts, titles)
    draw_memory(options.out / "gradients_memory.png", growth)
    for name, rows in costs.items():
        print_costs(cases[name], rows)
    print_drifts(cases, drifts)
    print_growths(growth)
    print("\n" + "\n".join(content["notes"]))
    for target in reached:
        print(f"{target['what']}: {target['value']:.3g}, at most {target['bound']:g}")


if __name__ == "__main__":
    main()
