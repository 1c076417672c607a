"""The trace of df/dz that moves a density (equation 8), exact or estimated, with what can be penalised."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops import transforming
from .linearization import axes

Field = Callable[[Tensor, Tensor], Tensor]


class Rates(NamedTuple):
    """What a field does at one time: dz/dt (B, d), trace of J (B,), squared Frobenius norm of J (B,)."""

    slope: Tensor
    trace: Tensor
    stiffness: Tensor | None


def exact(field: Any, t: Tensor, z: Tensor) -> Rates:
    """Slope and exact trace, by the cheapest way that the field offers; no Frobenius norm."""
    if hasattr(field, "with_trace"):
        slope, trace = field.with_trace(t, z)
        return Rates(slope, trace, None)
    if hasattr(field, "trace"):
        return Rates(field(t, z), field.trace(t, z), None)
    return whole(field, t, z)._replace(stiffness=None)


def whole(field: Any, t: Tensor, z: Tensor) -> Rates:
    """Slope, exact trace and exact Frobenius norm: d products with the Jacobian."""
    slope, products = jacobian_products(field, t, z, axes(z))
    return Rates(slope, products.diagonal(dim1=1, dim2=2).sum(-1), products.square().sum((1, 2)))


def estimate(field: Any, t: Tensor, z: Tensor, noise: Tensor) -> Rates:
    """Hutchinson: e . J e and |J e|^2, unbiased for noise e (B, d) with unit covariance; one product."""
    slope, products = jacobian_products(field, t, z, noise.unsqueeze(1))
    product = products.squeeze(1)
    return Rates(slope, (noise * product).sum(-1), product.square().sum(-1))


def jacobian_products(field: Any, t: Tensor, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The slope (B, d), and for K directions v (B, K, d) either J v or v J (B, K, d).

    Which of the two does not matter here: both have the same v . J v, and the same expected square. A field
    without `pushforward` is differentiated in reverse, once a direction.
    """
    if hasattr(field, "pushforward"):
        pushed: tuple[Tensor, Tensor] = field.pushforward(t, z, v)
        return pushed
    if transforming():
        slope, pull = torch.func.vjp(lambda x: field(t, x), z)  # type: ignore[misc]
        return slope, torch.stack([pull(direction)[0] for direction in v.unbind(1)], dim=1)
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        z = z if graph and z.requires_grad else z.detach().requires_grad_()
        slope = field(t, z)
        rows = [pull_back(slope, z, direction, graph) for direction in v.unbind(1)]
    products = torch.stack(rows, dim=1)
    return (slope, products) if graph else (slope.detach(), products)


def pull_back(slope: Tensor, z: Tensor, direction: Tensor, graph: bool) -> Tensor:
    """direction . J (B, d); zero where the slope does not depend on z."""
    if not slope.requires_grad:
        return torch.zeros_like(z)
    (row,) = torch.autograd.grad(
        slope, z, direction, create_graph=graph, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return row


def draw(kind: str, like: Tensor) -> Tensor:
    """Noise with unit covariance in the shape of `like`, from PyTorch's global generator."""
    return torch.randn_like(like) if kind == "gaussian" else torch.randint_like(like, 2).mul_(2.0).sub_(1.0)
