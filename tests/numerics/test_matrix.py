"""Every method under every batch mode, gradient and kind of state that it claims."""

import dataclasses

import pytest
import torch

import neuralode

METHODS = [method.name for method in neuralode.methods()]
ADAPTIVE = {method.name for method in neuralode.methods() if method.adaptive}


@dataclasses.dataclass
class Pair:
    a: torch.Tensor
    b: torch.Tensor


STATES = {
    "vector": lambda x: x,
    "image": lambda x: x.reshape(3, 2, 2),
    "tuple": lambda x: (x[:, :1], x[:, 1:]),
    "dict": lambda x: {"a": x[:, 0], "b": x[:, 1:].reshape(3, 3, 1)},
    "dataclass": lambda x: Pair(x[:, :2], x[:, 2:]),
}


def parts(state):
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return list(state.values())
    return [state.a, state.b] if isinstance(state, Pair) else list(state)


def times(state, rate):
    """rate * state, whatever its structure."""
    if isinstance(state, torch.Tensor):
        return rate * state
    if isinstance(state, dict):
        return {key: rate * value for key, value in state.items()}
    return Pair(rate * state.a, rate * state.b) if isinstance(state, Pair) else tuple(rate * x for x in state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("gradient", ["direct", "discrete", "backsolve"])
@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", METHODS)
def test_matrix(method, batch, gradient, kind, dtype):
    """y' = rate y: values and gradients against exp, at steps small enough for each order."""
    x = torch.linspace(0.5, 1.5, 12).reshape(3, 4).to(dtype).requires_grad_()
    rate = torch.tensor(-0.7, dtype=dtype, requires_grad=True)
    order = next(m.order for m in neuralode.methods() if m.name == method)
    step = None if method in ADAPTIVE else {1: 0.005, 2: 0.05, 4: 0.125}[order]
    sol = neuralode.solve(
        lambda t, y: times(y, rate), (0.0, 0.5), STATES[kind](x), t_eval=[0.2, 0.5], method=method, batch=batch,
        gradient=gradient, step=step, rtol=1e-5, atol=1e-5,
    )  # fmt: skip
    end = sum(part.abs().square().sum() for part in parts(sol.y1)) + sum(p.real.sum() for p in parts(sol.y))
    got = torch.autograd.grad(end, [x, rate])
    exact = [x * torch.exp(rate * t) for t in (0.2, 0.5)]
    loss = exact[1].abs().square().sum() + sum(e.real.sum() for e in exact)
    # First order at step 0.005 is off by about 0.2 %; the others by less.
    bound = 5e-3 if order == 1 else 1e-3
    torch.testing.assert_close(end, loss, rtol=bound, atol=bound)
    for g, w in zip(got, torch.autograd.grad(loss, [x, rate]), strict=True):
        torch.testing.assert_close(g, w, rtol=bound, atol=bound)
    assert [p.shape[1:] for p in parts(sol.y)] == [p.shape for p in parts(STATES[kind](x))]


@pytest.mark.parametrize("method", sorted(set(METHODS) - ADAPTIVE))
def test_methods_without_an_estimate_ask_for_steps(method):
    with pytest.raises(ValueError, match="no error estimate: give step="):
        neuralode.solve(lambda t, y: -y, (0.0, 1.0), torch.ones(2), method=method)


def test_records():
    for method in neuralode.methods():
        assert method.dense_order >= method.order - 1
        assert method.source and method.kind
