# ruff: noqa: T201
"""What does a digit cost? Every adaptive method beside SciPy, torchdiffeq and diffrax, in one process on one thread.

Usage: python work_precision.py [--tolerances 1e-4 1e-6 1e-8] [--problems orbit] [--methods dopri5 tsit5] [--out FOLDER]

Prints what each method needs for an error of 1e-6, and that over what the best of SciPy's needs; writes
work_precision.json and work_precision.png into the folder. torchdiffeq and diffrax take part where they are installed
(the extra `bench` has them).
Times leave out what diffrax compiles; evaluations leave out those inside Jacobians, but for diffrax, where every call
of f counts.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

import neuralode
from neuralode.plot.style import figure, save
from neuralode.whole import write_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from peers import Entry, Formula, Task, every
from setting import versions

from problems.kinetics import HIRES, hires
from problems.known import Known
from problems.orbits import ARENSTORF, arenstorf
from problems.smooth import LOTKA_VOLTERRA, lotka_volterra
from work import cost_at

TOLERANCES = tuple(10.0**-k for k in range(3, 12))
# Evaluations: a method whose last solve took more is not tried at tighter tolerances. Not a time, so that the same
# points are there on a slow machine.
BUDGET = 20_000
ROUNDS = 3
QUICK = 1.0  # seconds: a solve that took longer is not repeated for its time
TARGET = 1e-6
PEERS = {"scipy": "--", "torchdiffeq": ":", "diffrax": "-."}
# Of kinds of methods that solve equations.
IMPLICIT = ("implicit", "Rosenbrock", "backward", "automatic")


@dataclass(frozen=True)
class Point:
    """One solve; ``error`` is None where the end was not reached."""

    tolerance: float
    error: float | None
    nfev: int
    seconds: float


@dataclass(frozen=True)
class Curve:
    """One method through the tolerances."""

    code: str
    method: str
    points: list[Point]

    def reached(self, cost: str) -> tuple[list[float], list[float]]:
        """(costs, errors) of the solves that reached the end."""
        kept = [(getattr(p, cost), p.error) for p in self.points if p.error]
        return [c for c, _ in kept], [e for _, e in kept]

    def why_not(self) -> str:
        """Why nothing can be said of what an error of TARGET costs."""
        errors = self.reached("nfev")[1]
        if len(errors) < 3:
            return "too few solves within the evaluations allowed reached the end"
        return (
            "better than that at every tolerance"
            if max(errors) < TARGET
            else "not that good at any tolerance"
        )

    def at(self, error: float, cost: str) -> float:
        costs, errors = self.reached(cost)
        return float(cost_at(error, errors, costs))


def task(name: str, title: str, formula: Formula, known: Known, stiff: bool = False) -> Task:
    y0, end = tuple(known.y0.tolist()), tuple(known.end.tolist())
    return Task(name, title, formula, known.t_span, y0, end, stiff, known.atol_ratio)


TASKS = {
    made.name: made
    for made in (
        task("smooth", "Lotka-Volterra", lotka_volterra, LOTKA_VOLTERRA),
        task("orbit", "Arenstorf's orbit", arenstorf, ARENSTORF),
        task("stiff", "HIRES, stiff", hires, HIRES, stiff=True),
    )
}


def measure(entry: Entry, of: Task, tolerances: Sequence[float]) -> Curve:
    """The fastest of some rounds at each tolerance."""
    points: list[Point] = []
    for tol in sorted(tolerances, reverse=True):
        outcome = entry.solve(of, tol)
        seconds = outcome.seconds
        for _ in range(ROUNDS - 1 if seconds < QUICK else 0):
            seconds = min(seconds, entry.solve(of, tol).seconds)
        error = math.inf if outcome.y1 is None else of.error(outcome.y1)
        points.append(Point(tol, error if math.isfinite(error) else None, outcome.nfev, seconds))
        if outcome.nfev > BUDGET:
            break
    return Curve(entry.code, entry.method, points)


def table(title: str, curves: Sequence[Curve]) -> None:
    """Cost of an error of TARGET, and its ratio to SciPy's leanest and to SciPy's fastest method."""

    def best(cost: str) -> float:
        return min(
            (c.at(TARGET, cost) for c in curves if c.code == "scipy"), key=lambda x: (math.isnan(x), x)
        )

    leanest, fastest = best("nfev"), best("seconds")
    print(f"\n{title}: for an error of {TARGET:g}, and over the best of SciPy's")
    rows = [(c.code, c.method, c.at(TARGET, "nfev"), c.at(TARGET, "seconds")) for c in curves]
    missed = {(c.code, c.method): c.why_not() for c in curves}
    for code, method, nfev, seconds in sorted(rows, key=lambda row: (math.isnan(row[2]), row[2])):
        if math.isnan(nfev):
            print(f"  {code:12}{method:14} {missed[code, method]}")
            continue
        ratios = f"{nfev / leanest:6.2f} x {1e3 * seconds:11.2f} ms {seconds / fastest:8.2f} x"
        print(f"  {code:12}{method:14}{nfev:8.0f} evaluations {ratios}")


def families(curves: Sequence[Curve]) -> list[tuple[str, list[Curve]]]:
    """Our curves by family, and those of the peers."""
    kinds = {method.name: method.kind for method in neuralode.methods()}
    mine = [c for c in curves if c.code == "neuralode"]
    implicit = [c for c in mine if any(word in kinds[c.method] for word in IMPLICIT)]
    explicit = [c for c in mine if c not in implicit]
    return [
        ("explicit and stabilised", explicit),
        ("implicit, Rosenbrock, automatic", implicit),
        ("peers", [c for c in curves if c.code != "neuralode"]),
    ]


def ranked(curves: Sequence[Curve]) -> list[Curve]:
    """The leanest first; last those that do not reach the target."""
    return sorted(curves, key=lambda c: (math.isnan(c.at(TARGET, "nfev")), c.at(TARGET, "nfev")))


def draw(path: Path, races: dict[str, list[Curve]]) -> Path:
    """A row a problem, a column a family: error over evaluations. SciPy's best stands in every panel, in black."""
    with figure(len(races), 3, (16.5, 4.6 * len(races)), sharex="row", sharey="row") as (made, axes):
        for row, (name, curves) in enumerate(races.items()):
            best = ranked([c for c in curves if c.code == "scipy"])[0]
            for ax, (family, members) in zip(axes[row], families(curves), strict=True):
                shown = [best] + [c for c in ranked(members) if c is not best]
                for place, curve in enumerate(shown):
                    colour = "black" if curve is best else mpl.colormaps["tab20"].colors[(place - 1) % 20]
                    code = "" if curve.code == "neuralode" else f"{curve.code} "
                    ax.loglog(
                        *curve.reached("nfev"),
                        color=colour,
                        linestyle="-" if curve.code == "neuralode" else PEERS[curve.code],
                        marker="osD^v<>pP*Xhd"[place % 13],
                        markersize=4,
                        linewidth=2 if curve is best else 1.3,
                        label=code + curve.method,
                    )
                ax.set_title(f"{TASKS[name].title}: {family}", loc="left")
                ax.set_xlabel("evaluations of f")
                ax.set_ylabel("error at the end, relative")
                ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, handlelength=3)
        return save(made, path)


def content(races: dict[str, list[Curve]], tolerances: Sequence[float], notes: list[str]) -> dict[str, Any]:
    return {
        "versions": versions("torch", "numpy", "scipy", "torchdiffeq", "diffrax", "jax"),
        "seed": None,  # nothing here is random
        "threads": 1,
        "tolerances": list(tolerances),
        "problems": {
            name: {"title": TASKS[name].title, "curves": [asdict(c) for c in curves]}
            for name, curves in races.items()
        },
        "notes": notes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tolerances", type=float, nargs="+", default=TOLERANCES)
    parser.add_argument("--problems", nargs="+", choices=list(TASKS), default=list(TASKS))
    names = [method.name for method in neuralode.methods() if method.adaptive]
    parser.add_argument("--methods", nargs="+", choices=names, help="of neuralode's; all adaptive ones")
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    torch.set_num_threads(1)
    races: dict[str, list[Curve]] = {}
    notes: list[str] = []
    for name in options.problems:
        of = TASKS[name]
        races[name] = [measure(entry, of, options.tolerances) for entry in every(of, options.methods, notes)]
        table(of.title, races[name])
    notes = list(dict.fromkeys(notes))
    print("\n" + "\n".join(notes))
    write_json(options.out / "work_precision.json", content(races, options.tolerances, notes))
    draw(options.out / "work_precision.png", races)


if __name__ == "__main__":
    main()
