"""The fused backend beside eager, torchdiffeq and diffrax (jitted vmap, and as one system): time and error together.

One process, one thread, float32, CPU time, interleaved repeats, medians with the smallest in brackets; the error is the
largest over all outputs against a float64 solve at 1e-10. Ratios are to the fused time.

    python benchmarks/fused.py [P1 P2 P3 P6 P3g]
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuralode import solve

REPEATS = 5


@dataclass
class Problem:
    """One row of the tables: a field in torch and in jax, and what it is solved with."""

    name: str
    f: Callable[..., Tensor]
    jax_field: Callable[..., Any]
    y0: Tensor
    end: float
    outputs: int
    tolerance: float
    args: tuple[Tensor, ...] = ()
    weights: nn.Module | None = None

    @property
    def times(self) -> Tensor:
        return torch.linspace(0, self.end, self.outputs)

    def ours(self, backend: str, tolerance: float | None = None, double: bool = False) -> Tensor:
        """Our own solution, (T, B, n)."""
        y0, args = self.y0, self.args
        if double:
            y0, args = y0.double(), tuple(a.double() for a in args)
        tol = tolerance or self.tolerance
        batch = "independent" if y0.dim() == 2 else None
        return solve(
            self.f, (0.0, self.end), y0, t_eval=self.times.double(), args=args, rtol=tol, atol=tol, batch=batch,
            backend=backend,
        ).y  # fmt: skip


def problems() -> dict[str, Problem]:
    """The problems of the tables."""
    import jax.numpy as jnp

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
    with torch.no_grad():  # a spiral: the tables' field, with weights that keep turning
        net[0].weight.mul_(1.5)
    w1, b1, w2, b2 = (jnp.asarray(p.detach().numpy()) for p in net.parameters())

    def pair(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack(
            (1.5 * y[..., 0] - y[..., 0] * y[..., 1], y[..., 0] * y[..., 1] - 3 * y[..., 1]), -1
        )

    def jax_pair(t, y, args):
        return jnp.stack((1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3 * y[1]))

    def oscillator(t: Tensor, y: Tensor, mu: Tensor) -> Tensor:
        return torch.stack((y[:, 1], mu * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]), 1)

    def jax_oscillator(t, y, mu):
        return jnp.stack((y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]))

    def spiral(t: Tensor, y: Tensor) -> Tensor:
        return net(y**3) - 0.1 * y

    def jax_spiral(t, y, args):
        return jnp.tanh(y**3 @ w1.T + b1) @ w2.T + b2 - 0.1 * y

    def lorenz(t: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        x, v, z = y.unbind(-1)
        return torch.stack((10 * (v - x), x * (rho - z) - v, x * v - 8 / 3 * z), -1)

    def jax_lorenz(t, y, rho):
        return jnp.stack((10 * (y[1] - y[0]), y[0] * (rho - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]))

    start = torch.tensor([2.0, 0.0])
    return {
        "P1": Problem("Lotka-Volterra, one system", pair, jax_pair, torch.ones(2), 100.0, 100, 1e-6),
        "P2": Problem(
            "van der Pol, 256, mu 1 ... 10", oscillator, jax_oscillator, start.repeat(256, 1), 10.0, 10, 1e-5,
            (torch.linspace(1, 10, 256),),
        ),
        "P3": Problem(
            "MLP 2-50-2, 64", spiral, jax_spiral, 2 * torch.randn(64, 2), 25.0, 100, 1e-5, weights=net
        ),
        "P6": Problem(
            "Lorenz, 4096, rho 0 ... 28", lorenz, jax_lorenz, torch.ones(4096, 3), 10.0, 2, 1e-6,
            (torch.linspace(0, 28, 4096),),
        ),
    }  # fmt: skip


def diffrax_solver(p: Problem) -> Callable[[], Any]:
    """diffrax under jit, vmapped over the samples where there are several."""
    import diffrax
    import jax
    import jax.numpy as jnp

    times = jnp.asarray(p.times.numpy())
    controller = diffrax.PIDController(rtol=p.tolerance, atol=p.tolerance)

    def one(y0, args):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(p.jax_field), diffrax.Dopri5(), 0.0, p.end, None, y0, args,
            saveat=diffrax.SaveAt(ts=times), stepsize_controller=controller, max_steps=100_000,
        ).ys  # fmt: skip

    args = jnp.asarray(p.args[0].numpy()) if p.args else None
    y0 = jnp.asarray(p.y0.numpy())
    whole = one if p.y0.dim() == 1 else jax.vmap(one, in_axes=(0, 0 if p.args else None), out_axes=1)
    run = jax.jit(whole)
    return lambda: run(y0, args).block_until_ready()


def torchdiffeq_solver(p: Problem) -> Callable[[], Any]:
    """torchdiffeq, one step size for all."""
    import torchdiffeq

    def f(t: Tensor, y: Tensor) -> Tensor:
        return p.f(t, y, *p.args)

    return lambda: torchdiffeq.odeint(f, p.y0, p.times, rtol=p.tolerance, atol=p.tolerance, method="dopri5")


def median_times(runs: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """(median, smallest) CPU seconds of each, the repeats interleaved; short ones are repeated inside."""
    counts, found = {}, {name: [] for name in runs}
    for name, run in runs.items():
        run()
        start = time.process_time()
        run()
        counts[name] = max(1, round(0.01 / max(1e-6, time.process_time() - start)))
    for _ in range(REPEATS):
        for name, run in runs.items():
            start = time.process_time()
            for _ in range(counts[name]):
                run()
            found[name].append((time.process_time() - start) / counts[name])
    return {name: (float(np.median(values)), min(values)) for name, values in found.items()}


def peers(p: Problem) -> dict[str, Callable[[], Any]]:
    """What is installed."""
    found = {}
    for name, make in (("diffrax", diffrax_solver), ("torchdiffeq", torchdiffeq_solver)):
        try:
            found[name] = make(p)
        except ImportError:
            say(f"  {name} is not installed")
    return found


def forward(p: Problem) -> None:
    """Print the row of a forward solve."""
    with torch.no_grad():
        if p.weights is not None:
            p.weights.double()
        exact = p.ours("eager", 1e-10, double=True).numpy()
        if p.weights is not None:
            p.weights.float()
        start = time.perf_counter()
        p.ours("fused")
        first = time.perf_counter() - start
        runs = {"fused": lambda: p.ours("fused"), "eager": lambda: p.ours("eager"), **peers(p)}
        errors = {name: float(np.abs(np.asarray(run()) - exact).max()) for name, run in runs.items()}
        times = median_times(runs)
    report(f"{p.name}, forward (first call {first:.1f} s)", times, errors)


def gradient(p: Problem) -> None:
    """Print the row of a solve with its gradient to y0 and the weights."""
    y0 = p.y0.clone().requires_grad_()
    inputs = (y0, *(p.weights.parameters() if p.weights else ()))

    def ours(backend: str) -> tuple[Tensor, ...]:
        times = p.times.double()
        batch = "independent"
        tol = p.tolerance
        found = solve(p.f, (0.0, p.end), y0, t_eval=times, rtol=tol, atol=tol, batch=batch, backend=backend)
        return torch.autograd.grad((found.y**2).mean(), inputs)

    runs = {"fused": lambda: ours("fused"), "eager": lambda: ours("eager")}
    try:
        import torchdiffeq

        def other() -> tuple[Tensor, ...]:
            ys = torchdiffeq.odeint(p.f, y0, p.times, rtol=p.tolerance, atol=p.tolerance, method="dopri5")
            return torch.autograd.grad((ys**2).mean(), inputs)

        runs["torchdiffeq"] = other
    except ImportError:
        say("  torchdiffeq is not installed")
    want = runs["eager"]()
    errors = {
        name: max(float((a - b).norm() / b.norm()) for a, b in zip(run(), want, strict=True))
        for name, run in runs.items()
    }
    report(f"{p.name}, gradient (distance from eager's)", median_times(runs), errors)


def report(title: str, times: dict[str, tuple[float, float]], errors: dict[str, float]) -> None:
    """One table."""
    say(title)
    for name, (middle, least) in times.items():
        ratio = middle / times["fused"][0]
        say(
            f"  {name:12} {middle * 1e3:10.3f} ms [{least * 1e3:.3f}]  error {errors[name]:.1e}  {ratio:8.1f}x"
        )


def say(line: str) -> None:
    """A line on stdout, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    known = problems()
    for name in names or ["P1", "P2", "P3", "P6", "P3g"]:
        (gradient if name.endswith("g") else forward)(known[name.removesuffix("g")])


if __name__ == "__main__":
    main(sys.argv[1:])
