"""Random small graphs of the admitted operations: value, VJP and solve beside eager."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fused.fields import D, states
from neuralode import solve

N = 3
F = torch.nn.functional
WEIGHT = torch.randn(N, N, dtype=D, generator=torch.Generator().manual_seed(1)).requires_grad_()
BIAS = torch.randn(N, dtype=D, generator=torch.Generator().manual_seed(2)).requires_grad_()

# Maps (B, N) -> (B, N), smooth enough that two roundings do not part at a kink.
UNARY = (
    torch.tanh, torch.sigmoid, torch.sin, torch.cos, F.softplus, F.silu, F.gelu, F.elu, torch.atan, torch.erf,
    lambda x: torch.exp(-x * x), lambda x: torch.log1p(x * x), lambda x: torch.sqrt(1 + x * x),
    lambda x: x**3 / (1 + x**2),
    lambda x: torch.where(x > 0.123, x, 0.5 * x), lambda x: x.clamp(-0.7, 0.8), lambda x: torch.softmax(x, -1),
    lambda x: F.layer_norm(x, (N,), BIAS), lambda x: x - x.mean(-1, keepdim=True), lambda x: x.flip(-1),
    lambda x: x / (1 + x.norm(dim=-1, keepdim=True)), lambda x: x @ WEIGHT, lambda x: F.linear(x, WEIGHT, BIAS),
    lambda x: x + BIAS, lambda x: torch.roll(x, 1, -1), lambda x: x[:, [2, 0, 1]], lambda x: x.cumsum(-1) / N,
    lambda x: torch.cat((x[:, 1:], x[:, :1] * BIAS[0]), -1), lambda x: x.amax(-1, keepdim=True).expand(-1, N),
    lambda x: torch.stack((x[:, 0], x[:, 1] * x[:, 2], x.sum(-1)), 1), lambda x: torch.log_softmax(x, -1),
    lambda x: torch.einsum("bi,bj->bij", x, x).sum(-1) / N, lambda x: (x[:, None, :] @ WEIGHT[None])[:, 0],
    lambda x: torch.special.expit(x) * torch.expm1(-x.abs()), lambda x: F.leaky_relu(x, 0.3),
    lambda x: x.abs().rsqrt().clamp(max=2),
)  # fmt: skip
BINARY = (
    torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, lambda a, b: a / (1.5 + torch.tanh(b)),
    lambda a, b: torch.where(a > b, a, b * 0.9), lambda a, b: torch.lerp(a, b, 0.3), lambda a, b: a * b.mean(-1, True),
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(UNARY), st.integers(0, 9)),
        st.tuples(st.sampled_from(BINARY), st.integers(0, 9), st.integers(0, 9)),
    ),
    min_size=2,
    max_size=7,
)


def field(program):
    """The vector field of a list of operations, each on results before it; bounded, so that every solve ends."""

    def f(t, y):
        values = [y, torch.cos(t) * y]
        for operation, *places in program:
            values.append(operation(*(values[-1 - place % len(values)] for place in places)))
        return torch.tanh(values[-1]) - 0.1 * y

    return f


def compare(program, batch: str = "independent") -> None:
    f, found = field(program), []
    for backend in ("eager", "fused"):
        y0 = states(5, N).requires_grad_()
        inputs = (y0, WEIGHT, BIAS)
        solution = solve(f, (0.0, 0.3), y0, method="rk4", step=0.15, batch=batch, backend=backend)
        grads = torch.autograd.grad(solution.y1.square().sum(), inputs, allow_unused=True)
        found.append(
            (
                solution.y1,
                *(torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True)),
            )
        )
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


def test_smoke():
    compare([(UNARY[0], 0), (BINARY[2], 0, 1), (UNARY[16], 0), (UNARY[22], 0)])


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(program=steps, batch=st.sampled_from(["independent", "lockstep"]))
def test_random_graphs(program, batch):
    compare(program, batch)


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(UNARY)))
def test_every_operation(place):
    compare([(UNARY[place], 0), (BINARY[place % len(BINARY)], 0, 1)])
