# ruff: noqa: T201
"""Two training loops, eager, fused and by torchdiffeq: the same weights, batches and optimiser, processor time a step.

Usage: python fused_training.py [--steps 40] [--problems spiral cnf]

The spiral: a network 2-50-2 on y**3 learns dy/dt from pieces of ten points of one path. The flow: a CNF, field
2-64-64-64-2 with the exact trace, learns two moons, 512 points a step. float32, dopri5, one thread, the codes in turn,
a step each. Ratios are to fused in lockstep, which is what `backend="fused"` alone gives a module; the first step of
each, in which fused is compiled or loaded from its cache, is not counted, and is printed alone. torchdiffeq has a row
where it is installed.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import torch
from markdown_table import markdown
from torch import Tensor, nn

import neuralode
from neuralode.data import two_moons
from neuralode.nn import CNF, MLPField, ODEBlock

try:
    import torchdiffeq
except ImportError:
    torchdiffeq = None

TOLERANCE = 1e-5
WAYS = (("eager", "lockstep"), ("eager", "independent"), ("fused", "lockstep"), ("fused", "independent"))
POINTS, PIECES, SPAN = 10, 64, 25.0


class Spiral(nn.Module):
    """dy/dt = MLP(y**3)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        slope: Tensor = self.net(y**3)
        return slope


@dataclass
class Training:
    """One code at work on its own copy of the network; ``loss(batch)`` is differentiable."""

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Tensor], Tensor]
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3)

    def step(self, batch: Tensor) -> None:
        """One step of the optimiser, timed."""
        start = time.process_time()
        loss = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.seconds.append(time.process_time() - start)
        self.losses.append(loss.item())


def spiral_batches(steps: int) -> Iterator[Tensor]:
    """Pieces (POINTS, PIECES, 2) of the path of dy/dt = A y**3."""
    turn = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    times = torch.linspace(0.0, SPAN, 1000)
    path = neuralode.solve(
        lambda t, y: y**3 @ turn, (0.0, SPAN), torch.tensor([2.0, 0.0]), t_eval=times.double(), rtol=1e-7
    ).y
    draw = torch.Generator().manual_seed(0)
    for _ in range(steps):
        starts = torch.randint(len(path) - POINTS, (PIECES,), generator=draw)
        yield path[starts + torch.arange(POINTS)[:, None]]


def spiral() -> Iterator[Training]:
    """The trainings of the spiral."""
    torch.manual_seed(0)
    first, times = Spiral(), torch.linspace(0.0, SPAN * (POINTS - 1) / 999, POINTS)
    end = float(times[-1])
    for backend, batch in WAYS:
        f = copy.deepcopy(first)
        block = ODEBlock(f, (0.0, end), batch=batch, backend=backend, rtol=TOLERANCE, atol=TOLERANCE)

        def loss(batch: Tensor, block: ODEBlock = block) -> Tensor:
            return (block(batch[0], t_eval=times) - batch).abs().mean()

        yield Training(f"neuralode, {backend}, {batch}", list(f.parameters()), loss)
    for name in ("odeint", "odeint_adjoint") if torchdiffeq else ():
        f, odeint = copy.deepcopy(first), getattr(torchdiffeq, name)

        def peer(batch: Tensor, f: nn.Module = f, odeint: Callable[..., Tensor] = odeint) -> Tensor:
            found = odeint(f, batch[0], times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")
            return (found - batch).abs().mean()

        yield Training(f"torchdiffeq, {name}", list(f.parameters()), peer)


def cnf_batches(steps: int) -> Iterator[Tensor]:
    """Points (512, 2) of two moons."""
    for seed in range(steps):
        yield two_moons(512, seed=seed)


def cnf() -> Iterator[Training]:
    """The trainings of the flow."""
    torch.manual_seed(0)
    first = MLPField(2, hidden=(64, 64, 64), time=True)
    for backend, batch in WAYS:
        f = copy.deepcopy(first)
        flow = CNF(f, dim=2, batch=batch, backend=backend, rtol=TOLERANCE, atol=TOLERANCE)

        def loss(batch: Tensor, flow: CNF = flow) -> Tensor:
            return -flow.log_prob(batch).mean()

        yield Training(f"neuralode, {backend}, {batch}", list(f.parameters()), loss)
    if torchdiffeq:
        yield Training("torchdiffeq, odeint", *_peer_flow(copy.deepcopy(first)))


def _peer_flow(f: MLPField) -> tuple[list[nn.Parameter], Callable[[Tensor], Tensor]]:
    """The flow on torchdiffeq, with the same field and trace."""

    def augmented(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return f.with_trace(t, state[0])

    def loss(batch: Tensor) -> Tensor:
        z, change = torchdiffeq.odeint(
            augmented, (batch, batch.new_zeros(len(batch))), torch.tensor([1.0, 0.0]), rtol=TOLERANCE, atol=TOLERANCE,
            method="dopri5",
        )  # fmt: skip
        base = torch.distributions.Normal(0.0, 1.0).log_prob(z[-1]).sum(-1)
        return -(base + change[-1]).mean()

    return list(f.parameters()), loss


PROBLEMS = {"spiral": (spiral_batches, spiral), "cnf": (cnf_batches, cnf)}


def report(title: str, trainings: list[Training]) -> None:
    """Print one table."""
    fused = next(each for each in trainings if each.name.endswith("fused, lockstep"))
    unit = median(fused.seconds[1:])
    print(f"\n{title}\n")
    rows = []
    for each in trainings:
        typical = median(each.seconds[1:])
        times = f"{1e3 * typical:.2f} ({1e3 * min(each.seconds):.2f})", f"{typical / unit:.1f}"
        losses = f"{each.losses[0]:.4f}", f"{each.losses[-1]:.4f}"
        rows.append((each.name, *times, f"{each.seconds[0]:.2f}", *losses))
    markdown(("", "ms a step", "x fused, lockstep", "first step, s", "loss, first", "loss, last"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=40, help="steps of the optimiser")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.problems:
        batches, make = PROBLEMS[name]
        trainings = list(make())
        for batch in batches(options.steps):
            for training in trainings:
                training.step(batch)
        report(name, trainings)


if __name__ == "__main__":
    main()
