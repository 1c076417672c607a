"""The problems of gradients.py, each written once for PyTorch and JAX: formulas take the operations of either."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from operations import OfTorch
from torch import Tensor

import neuralode
from neuralode.data import two_circles

Formula = Callable[[Any, Any, Any, Sequence[Any]], Any]
Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Case:
    """``formula(ops, t, y, params)`` is dy/dt; the gradient of ``loss(ops, y(t1))`` to y0 and params is wanted.

    Attributes:
        tol: rtol and atol.
        tight: tolerance of the reference.
        method: what suits the problem, where the gradient goes through it.
        at_rest: whether the state no longer changes at the end.
    """

    name: str
    title: str
    formula: Formula
    loss: Loss
    t_span: tuple[float, float]
    y0: Tensor
    params: tuple[Tensor, ...]
    tol: float
    tight: float = 1e-11
    method: str = "dopri5"
    at_rest: bool = False

    def field(self, params: Sequence[Tensor]) -> Callable[[Any, Tensor], Tensor]:
        return lambda t, y: self.formula(OfTorch, t, y, params)


def seeded(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense(*sizes: int, gain: float = 1.0) -> tuple[Tensor, ...]:
    """Weights (out, in) and zero biases of a perceptron, w1, b1, w2, b2, ..."""
    layers = [
        (seeded(a, b, scale=gain / math.sqrt(a), seed=k).T.contiguous(), seeded(b, scale=0.0))
        for k, (a, b) in enumerate(pairwise(sizes))
    ]
    return tuple(part for layer in layers for part in layer)


def perceptron(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    for w, b in zip(p[:-2:2], p[1:-2:2], strict=True):
        y = ops.tanh(ops.linear(y, w, b))
    return ops.linear(y, p[-2], p[-1])


def squares(ops: Any, y: Any) -> Any:
    return (y * y).mean()


def trained(params: Sequence[Tensor], loss: Callable[[Sequence[Tensor]], Tensor], steps: int) -> list[Tensor]:
    """After some steps of Adam."""
    leaves = [part.clone().requires_grad_() for part in params]
    optimiser = torch.optim.Adam(leaves, lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(leaves).backward()
        optimiser.step()
    return [part.detach() for part in leaves]


def on_cubes(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    return perceptron(ops, t, y**3, p)


def spiral(small: bool) -> Case:
    """The network of torchdiffeq's demonstration, fitted to the slopes y^3 A of its spiral."""
    samples, end = (8, 5.0) if small else (64, 25.0)
    turn = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)
    places = 4.0 * torch.rand(512, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 2.0

    def miss(p: Sequence[Tensor]) -> Tensor:
        return (on_cubes(OfTorch, 0.0, places, p) - places**3 @ turn).square().mean()

    params = trained(dense(2, 50, 2), miss, 20 if small else 1000)
    angles = torch.linspace(0.0, 6.0, samples, dtype=torch.float64)
    y0 = torch.stack((2.0 * torch.cos(angles), torch.sin(angles)), -1)
    return Case("spiral", "Spiral, MLP 2-50-2 on y³", on_cubes, squares, (0.0, end), y0, tuple(params), 1e-5)


def density(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    """dz/dt = MLP(z, t) and the exact trace of its Jacobian, by the chain rule written out."""
    w, b, *rest = p
    a, v = ops.linear(y[..., :2], w[:, :2], b) + t * w[:, 2], w[:, :2].T
    for w, b in zip(rest[::2], rest[1::2], strict=True):
        h = ops.tanh(a)
        a, v = ops.linear(h, w, b), (v * (1.0 - h * h)[..., None, :]) @ w.T
    return ops.stack((a[..., 0], a[..., 1], v[..., 0, 0] + v[..., 1, 1]), -1)


def unlikely(ops: Any, y: Any) -> Any:
    """Mean negative log-likelihood but for a constant."""
    return (0.5 * (y[..., :2] ** 2).sum(-1) - y[..., 2]).mean()


def flow(small: bool) -> Case:
    points = two_circles(32 if small else 512, seed=0).double()
    y0 = torch.cat((points, torch.zeros_like(points[:, :1])), -1)
    params = dense(3, *((8,) if small else (64, 64, 64)), 2, gain=1.5)
    return Case("cnf", "CNF in 2-D, MLP 3-64-64-64-2", density, unlikely, (1.0, 0.0), y0, params, 1e-5)


def block(ops: Any, t: Any, x: Any, p: Sequence[Any]) -> Any:
    """norm, ReLU, convolution, norm, ReLU, convolution, norm."""
    first, second, *norms = p
    for kernel, scale, shift in zip((first, second), norms[:4:2], norms[1:4:2], strict=True):
        x = ops.convolve(ops.relu(ops.normalise(x, scale, shift)), kernel)
    return ops.normalise(x, *norms[4:])


def convolution(small: bool, batch: int = 16) -> Case:
    batch, side = (2, 3) if small else (batch, 7)
    kernels = [seeded(64, 64, 3, 3, scale=1 / 24, seed=k) for k in (1, 2)]
    norms = [make(64, dtype=torch.float64) for _ in range(3) for make in (torch.ones, torch.zeros)]
    y0 = seeded(batch, 64, side, side)
    # A ReLU's kinks keep the reference from converging as fast as elsewhere.
    return Case(
        "conv",
        "Convolutions, 64 x 7 x 7",
        block,
        squares,
        (0.0, 1.0),
        y0,
        (*kernels, *norms),
        1e-3,
        tight=1e-6,
    )


def oscillator(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    x, v = y[..., 0], y[..., 1]
    return ops.stack((v, p[0] * (1.0 - x * x) * v - x), -1)


def van_der_pol(small: bool) -> Case:
    y0, mu = torch.tensor([2.0, 0.0]).double(), torch.tensor(1.0).double()
    end, tol = (3.0, 1e-4) if small else (6.0, 1e-6)
    return Case("vdp", "Van der Pol, μ = 1", oscillator, squares, (0.0, end), y0, (mu,), tol)


def pulled(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    return -p[0] * (y - ops.cos(t))


def contracting(small: bool) -> Case:
    y0, k = torch.ones(1).double(), torch.tensor(20.0).double()
    return Case(
        "contracting",
        "y' = -20 (y - cos t), T = 2",
        pulled,
        lambda ops, y: y.sum(),
        (0.0, 2.0),
        y0,
        (k,),
        1e-3,
    )


def butterfly(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    sigma, rho, beta = p
    x, v, z = y[..., 0], y[..., 1], y[..., 2]
    return ops.stack((sigma * (v - x), x * (rho - z) - v, x * v - beta * z), -1)


def lorenz(small: bool) -> Case:
    y0, p = torch.tensor([1.0, 1.0, 20.0]).double(), torch.tensor([10.0, 28.0, 8.0 / 3.0]).double()
    return Case("lorenz", "Lorenz, T = 5", butterfly, squares, (0.0, 5.0), y0, tuple(p), 1e-5)


def decays(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    flows = p[0] * y
    return ops.concatenate((0.0 * flows[:1], flows[:-1])) - flows


def chain(small: bool) -> Case:
    """Each species decays into the next, a thousand times as fast at the end as at the start."""
    y0, rates = torch.tensor([1.0, 0.0, 0.0, 0.0]).double(), torch.logspace(0.0, 3.0, 4).double()
    return Case(
        "chain", "Stiff chain, rates 1 … 1000", decays, lambda ops, y: y.sum(), (0.0, 2.0), y0, (rates,), 1e-6,
        method="kvaerno5", tight=1e-9,
    )  # fmt: skip


def relaxing(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    return ops.tanh(y @ p[0] + p[1]) - y


def rest(small: bool) -> Case:
    """A recurrent network that has come to rest at the end."""
    params = (seeded(8, 8, scale=0.2, seed=1), seeded(8, seed=2))
    return Case(
        "rest",
        "Network at rest, T = 40",
        relaxing,
        squares,
        (0.0, 40.0),
        seeded(8),
        params,
        1e-5,
        at_rest=True,
    )


def classifier(small: bool) -> Case:
    """A neural ODE that was trained, through the solver, to tell the inner circle from the outer one."""
    points = two_circles(64 if small else 256, seed=0).double()
    signs = torch.sign(points.norm(dim=1) - points.norm(dim=1).mean())

    def logistic(ops: Any, y: Any) -> Any:
        return ops.log1p(ops.exp(-ops.constant(signs) * (y[:, 0] + y[:, 1]))).mean()

    def loss(p: Sequence[Tensor]) -> Tensor:
        field = lambda t, y: perceptron(OfTorch, t, y, p)  # noqa: E731
        return logistic(OfTorch, neuralode.solve(field, (0.0, 1.0), points, rtol=1e-3, atol=1e-3).y1)

    params = trained(dense(2, 32, 2, gain=2.0), loss, 10 if small else 150)
    return Case(
        "trained", "Trained classifier", perceptron, logistic, (0.0, 1.0), points, tuple(params), 1e-4
    )


COSTS = {"spiral": spiral, "cnf": flow, "conv": convolution, "vdp": van_der_pol}
DRIFTS = {"contracting": contracting, "lorenz": lorenz, "chain": chain, "rest": rest, "trained": classifier}
