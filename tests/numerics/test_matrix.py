"""Every method under every batch mode, gradient and kind of state that it claims."""

import dataclasses
import itertools

import pytest
import torch

import neuralode

METHODS = {method.name: method for method in neuralode.methods()}


@dataclasses.dataclass
class Pair:
    a: torch.Tensor
    b: torch.Tensor


# By what a method takes as a state: how twelve numbers are handed to it.
STATES = {
    "any": {
        "vector": lambda x: x,
        "image": lambda x: x.reshape(3, 2, 2),
        "tuple": lambda x: (x[:, :1], x[:, 1:]),
        "dict": lambda x: {"a": x[:, 0], "b": x[:, 1:].reshape(3, 3, 1)},
        "dataclass": lambda x: Pair(x[:, :2], x[:, 2:]),
    },
    "pair": {
        "tuple": lambda x: (x[:, :2], x[:, 2:]),
        "dict": lambda x: {"q": x[:, :2].reshape(3, 2, 1), "p": x[:, 2:].reshape(3, 2, 1)},
        "dataclass": lambda x: Pair(x[:, :2], x[:, 2:]),
    },
}


def parts(state):
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return list(state.values())
    return [state.a, state.b] if isinstance(state, Pair) else list(state)


def rebuilt(state, values):
    """A state of the structure of another."""
    if isinstance(state, torch.Tensor):
        return values[0]
    if isinstance(state, dict):
        return dict(zip(state, values, strict=True))
    return Pair(*values) if isinstance(state, Pair) else tuple(values)


def growing(y, rate):
    """y' = rate y."""
    return rebuilt(y, [rate * part for part in parts(y)])


def crossing(y, rate):
    """q' = rate p, p' = rate q."""
    return rebuilt(y, [rate * part for part in reversed(parts(y))])


def crossed(x, angle):
    q, p = x.chunk(2, -1)
    c, s = torch.cosh(angle), torch.sinh(angle)
    return torch.cat((c * q + s * p, c * p + s * q), -1)


FIELDS = {"any": growing, "pair": crossing}
EXACT = {"any": lambda x, angle: x * torch.exp(angle), "pair": crossed}


BATCHES = [None, "lockstep", "independent"]
GRADIENTS = ["direct", "discrete", "checkpointed", "interpolated", "backsolve", "reversible"]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
CLAIMED = [
    (m.name, gradient) for m in neuralode.methods() for gradient in m.gradients if gradient in GRADIENTS
]
REFUSED = [
    (m.name, gradient) for m in neuralode.methods() for gradient in GRADIENTS if gradient not in m.gradients
]
QUICK = (("dict", torch.float64), ("vector", torch.complex64), ("tuple", torch.complex64))
WHOLE = ("rk4", "dopri5", "kvaerno3")  # whose every combination runs in the quick suite


def combinations():
    """Every method under every claim; of the others than ``WHOLE`` the quick suite runs those of ``QUICK``."""
    for method, gradient in CLAIMED:
        for batch, kind, dtype in itertools.product(BATCHES, STATES[METHODS[method].state], DTYPES):
            quick = method in WHOLE or (kind, dtype) in QUICK
            marks = () if quick else pytest.mark.slow
            name = "-".join((method, str(batch), gradient, kind, str(dtype).removeprefix("torch.")))
            yield pytest.param(method, batch, gradient, kind, dtype, marks=marks, id=name)


@pytest.mark.parametrize(("method", "batch", "gradient", "kind", "dtype"), combinations())
def test_matrix(method, batch, gradient, kind, dtype):
    """Linear fields: values and gradients against the exact ones, at steps small enough for each order."""
    x = torch.linspace(0.5, 1.5, 12).reshape(3, 4).to(dtype).requires_grad_()
    rate = torch.tensor(-0.7, dtype=dtype, requires_grad=True)
    record = METHODS[method]
    state = STATES[record.state][kind](x)
    step = None if record.adaptive else {1: 0.005, 2: 0.05}.get(record.order, 0.125)
    field = FIELDS[record.state]
    f = [lambda t, y, share=share: field(y, share * rate) for share in (0.25, 0.75)]
    if not record.split:
        f = lambda t, y: field(y, rate)  # noqa: E731
    sol = neuralode.solve(
        f, (0.0, 0.5), state, t_eval=[0.2, 0.5], method=method, batch=batch,
        gradient=gradient, step=step, rtol=1e-5, atol=1e-5,
    )  # fmt: skip
    end = sum(part.abs().square().sum() for part in parts(sol.y1)) + sum(p.real.sum() for p in parts(sol.y))
    got = torch.autograd.grad(end, [x, rate])
    exact = [EXACT[record.state](x, rate * t) for t in (0.2, 0.5)]
    loss = exact[1].abs().square().sum() + sum(e.real.sum() for e in exact)
    # First order at step 0.005 is off by about 0.2 %; the others by less.
    bound = 5e-3 if record.order == 1 else 1e-3
    torch.testing.assert_close(end, loss, rtol=bound, atol=bound)
    for g, w in zip(got, torch.autograd.grad(loss, [x, rate]), strict=True):
        torch.testing.assert_close(g, w, rtol=bound, atol=bound)
    assert [p.shape[1:] for p in parts(sol.y)] == [p.shape for p in parts(state)]


@pytest.mark.parametrize(("method", "gradient"), REFUSED)
def test_what_is_not_claimed_says_so(method, gradient):
    with pytest.raises(
        ValueError, match=f"method '{method}' has no gradient='{gradient}': use one of direct"
    ):
        neuralode.Solver(method=method, gradient=gradient, step=0.1)


@pytest.mark.parametrize("method", [name for name, record in METHODS.items() if not record.adaptive])
def test_methods_without_an_estimate_ask_for_steps(method):
    with pytest.raises(ValueError, match="no error estimate: give step="):
        neuralode.solve(lambda t, y: -y, (0.0, 1.0), torch.ones(2), method=method)


def test_records():
    for method in neuralode.methods():
        assert 1 <= method.dense_order <= method.order
        assert method.source and method.kind
        assert method.state in STATES
