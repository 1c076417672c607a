# ruff: noqa: T201
"""What does a minibatch cost beside its samples alone? Rows of f evaluated, and the worst sample's error.

Usage: python minibatches.py [--problems oscillators] [--out FOLDER]

One system of all samples takes the steps of whichever needs the smallest (Chen et al. 2018, section 6). Compared are
neuralode with a step size for each sample (compact=True: samples that have ended leave the calls of f), with a step
size for each but no compaction, in lockstep, and torchdiffeq where it is installed; dopri5 everywhere. Prints a table,
writes minibatches.json and minibatches.png into the folder. Nothing here is timed.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import neuralode
from neuralode.data import digits
from neuralode.nn import MLPField, ODEBlock
from neuralode.plot.style import BLUE, GREEN, GREY, ORANGE, figure, save
from neuralode.whole import write_json

try:
    import torchdiffeq
except ImportError:
    torchdiffeq = None

SAMPLES = 32
IMAGES = 128
COLOURS = {"compact": BLUE, "independent": GREEN, "lockstep": ORANGE, "torchdiffeq": GREY}


@dataclass(frozen=True)
class Task:
    """A batch of systems; ``args`` have a row for each."""

    title: str
    f: Callable[..., Tensor]
    t1: float
    y0: Tensor
    args: tuple[Tensor, ...]
    tolerance: float


@dataclass(frozen=True)
class Cost:
    """What one way of solving a batch took.

    Attributes:
        rows: rows of f evaluated, calls times the rows in each.
        error: of the worst sample at the end, in tolerances: max |y - exact| / (tol + tol |exact|).
        calls: calls of f.
    """

    rows: int
    error: float
    calls: int


def van_der_pol(t: Tensor, y: Tensor, mu: Tensor) -> Tensor:
    return torch.stack((y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


def oscillators() -> Task:
    """From nearly linear to nearly stiff."""
    mu = torch.logspace(-1, 1.4771, SAMPLES, dtype=torch.float64)
    y0 = torch.tensor([2.0, 0.0], dtype=torch.float64).repeat(SAMPLES, 1)
    return Task("van der Pol, mu 0.1 to 30", van_der_pol, 10.0, y0, (mu,), 1e-6)


def network() -> Task:
    """An ODE-Net trained on handwritten digits for some seconds, on images that it has not seen."""
    torch.manual_seed(0)
    split = digits(seed=0)
    images, labels = split.train_x.flatten(1), split.train_y
    field = MLPField(dim=16, hidden=64)
    block = ODEBlock(field, t_span=(0.0, 1.0), rtol=1e-3, atol=1e-3)
    model = nn.Sequential(nn.Linear(images.shape[1], 16), block, nn.Linear(16, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        chosen = torch.randint(len(images), (64,))
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.double()
    held_out = split.test_x.flatten(1)[:IMAGES].double()
    y0 = model[0](held_out).detach()
    return Task("ODE-Net trained on digits", lambda t, y: field(t, y), 1.0, y0, (), 1e-6)


TASKS: dict[str, Callable[[], Task]] = {"oscillators": oscillators, "network": network}


def worst(of: Task, y1: Tensor, exact: Tensor) -> float:
    return float(((y1 - exact).abs() / (of.tolerance * (1 + exact.abs()))).max())


def ours(of: Task, exact: Tensor, **options: Any) -> Cost:
    tol = of.tolerance
    found = neuralode.solve(of.f, (0.0, of.t1), of.y0, args=of.args, rtol=tol, atol=tol, **options)
    calls = int(torch.as_tensor(found.nfev).max())
    return Cost(found.evaluations, worst(of, found.y1, exact), calls)


def theirs(of: Task, exact: Tensor) -> Cost:
    calls = 0

    def counted(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return of.f(t, y, *of.args)

    times, tol = torch.tensor([0.0, of.t1], dtype=torch.float64), of.tolerance
    y1 = torchdiffeq.odeint(counted, of.y0, times, rtol=tol, atol=tol, method="dopri5")[-1]
    return Cost(calls * len(of.y0), worst(of, y1, exact), calls)


@torch.no_grad()
def measure(of: Task) -> tuple[int, dict[str, Cost]]:
    """(rows that the samples need one by one, costs by way)."""
    tol = of.tolerance
    exact = neuralode.solve(
        of.f, (0.0, of.t1), of.y0, args=of.args, method="dop853", rtol=1e-12, atol=1e-12, batch="independent"
    ).y1
    alone = 0
    for b in range(len(of.y0)):
        args = tuple(arg[b : b + 1] for arg in of.args)
        one = neuralode.solve(
            of.f, (0.0, of.t1), of.y0[b : b + 1], args=args, rtol=tol, atol=tol, batch="independent"
        )
        alone += one.evaluations
    costs = {
        "compact": ours(of, exact, batch="independent", compact=True),
        "independent": ours(of, exact, batch="independent"),
        "lockstep": ours(of, exact, batch="lockstep"),
    }
    if torchdiffeq is not None:
        costs["torchdiffeq"] = theirs(of, exact)
    return alone, costs


def table(title: str, alone: int, costs: dict[str, Cost]) -> None:
    print(f"\n{title}: {alone} rows for the samples one by one")
    print(f"  {'':14}{'rows of f':>12}{'over alone':>12}{'worst error':>16}")
    for name, cost in costs.items():
        print(f"  {name:14}{cost.rows:12d}{cost.rows / alone:10.2f} x{cost.error:12.3g} tol")


def draw(path: Path, found: dict[str, tuple[str, int, dict[str, Cost]]]) -> Path:
    with figure(len(found), 2, (8.0, 2.3 * len(found)), sharey=True) as (made, axes):
        for row, (title, alone, costs) in enumerate(found.values()):
            names, colours = list(costs), [COLOURS[name] for name in costs]
            left, right = axes[row]
            left.barh(names, [cost.rows / alone for cost in costs.values()], color=colours)
            left.axvline(1.0, color="black", linewidth=0.8)
            left.set_xlabel("rows of f, over the samples alone")
            left.set_title(title, loc="left")
            right.barh(names, [cost.error for cost in costs.values()], color=colours)
            right.set_xlabel("error of the worst sample, in tolerances")
        axes[0, 0].invert_yaxis()
        return save(made, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in options.problems:
        of = TASKS[name]()
        found[name] = (of.title, *measure(of))
        table(*found[name])
    if torchdiffeq is None:
        print("\ntorchdiffeq is not installed, and left out")
    content = {
        name: {"title": title, "alone": alone, "ways": {way: asdict(cost) for way, cost in costs.items()}}
        for name, (title, alone, costs) in found.items()
    }
    write_json(options.out / "minibatches.json", content)
    draw(options.out / "minibatches.png", found)


if __name__ == "__main__":
    main()
