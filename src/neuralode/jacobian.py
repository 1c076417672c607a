"""df/dy of a function of rows, and products with it.

Forward mode under ``vmap`` where f allows that (one evaluation of f on n tangents), else n reverse products. Both are
differentiable once more where gradients are on.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

Function = Callable[[Tensor], Tensor]


def push(f: Function, y: Tensor, v: Tensor) -> Tensor:
    """(df/dy) v, forward mode."""
    with forward_ad._set_fwd_grad_enabled(True):
        value, tangent = torch.func.jvp(f, (y,), (v,))[:2]
    # Of a 0-d number times a Python number, vmap makes a float64 tangent whatever the dtype of the number.
    return tangent.to(value.dtype)


def push_twice_reversed(f: Function, y: Tensor, v: Tensor) -> Tensor:
    """(df/dy) v from two reverse products, for an f without forward mode."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        at = y if y.requires_grad else y.detach().requires_grad_()
        value = f(at)
        if not value.requires_grad:
            return torch.zeros_like(value)
        dual = torch.zeros_like(value, requires_grad=True)
        (pulled,) = torch.autograd.grad(value, at, dual, create_graph=True, allow_unused=True)
        if pulled is None or not pulled.requires_grad:
            return torch.zeros_like(value)
        (out,) = torch.autograd.grad(pulled, dual, v, create_graph=graph, allow_unused=True)
    return torch.zeros_like(value) if out is None else out


def blocks_forward(f: Function, y: Tensor, rows: int) -> Tensor:
    """(R, n, n): the Jacobian of every row, where rows do not depend on each other."""
    n = y.numel() // rows
    shape = y.shape[1:] if y.dim() and len(y) == rows else y.shape
    basis = torch.eye(n, dtype=y.dtype, device=y.device).reshape(n, *shape)
    if shape != y.shape:
        basis = basis[:, None].expand(n, *y.shape)
    columns = torch.func.vmap(lambda v: push(f, y, v))(basis)
    return columns.reshape(n, rows, n).permute(1, 2, 0)


def blocks_reverse(f: Function, y: Tensor, rows: int) -> Tensor:
    """The same from n reverse products."""
    graph = torch.is_grad_enabled()
    n = y.numel() // rows
    with torch.enable_grad():
        at = y if y.requires_grad else y.detach().requires_grad_()
        value = f(at).reshape(rows, n)
        if not value.requires_grad:
            return y.new_zeros(rows, n, n)
        lines = [
            torch.autograd.grad(
                value[:, i].sum(), at, retain_graph=True, create_graph=graph, allow_unused=True
            )[0]
            for i in range(n)
        ]
    zero = torch.zeros_like(y)
    return torch.stack([(zero if line is None else line).reshape(rows, n) for line in lines], 1)
