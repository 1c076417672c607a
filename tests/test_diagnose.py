"""diagnose finds what is known of small problems; a failed solve tells the same facts."""

import math

import pytest
import torch
from torch import nn

import neuralode
from neuralode import SolverError, Status, diagnose

DOUBLE = torch.float64
ONE = torch.ones(1, dtype=DOUBLE)


def van_der_pol(mu: float):
    return lambda t, y: torch.stack((y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


def spiral(t, y):
    return y**3 @ torch.tensor([[-0.1, -2.0], [2.0, -0.1]], dtype=y.dtype)


@pytest.mark.parametrize(
    ("f", "y0", "t1", "end"),
    # y' = y^p from 1: (1 - (p - 1) t)^(-1 / (p - 1)); y' = 1 + y^2 from 0: tan t.
    [
        (lambda t, y: y**2, 1.0, 2.0, 1.0),
        (lambda t, y: y**3, 1.0, 2.0, 0.5),
        (lambda t, y: 1 + y**2, 0.0, 2.0, math.pi / 2),
        (lambda t, y: y**2, 1.0, 0.95, 1.0),  # foretold
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blow_up(f, y0, t1, end, dtype):
    found = diagnose(f, (0.0, t1), torch.full((1,), y0, dtype=dtype))
    assert found.blow_up is not None and found.blow_up.t == pytest.approx(end, abs=1e-3)
    assert found.non_lipschitz is None and not found.stiff
    assert "becomes infinite at t = " in str(found)


def test_blow_up_backward_in_time():
    found = diagnose(lambda t, y: -(y**2), (0.0, -2.0), ONE)
    assert found.blow_up is not None and found.blow_up.t == pytest.approx(-1.0, abs=1e-3)


@pytest.mark.parametrize("batch", ["lockstep", "independent"])
def test_the_sample_that_blows_up_is_named(batch):
    y0 = torch.tensor([[0.1], [1.0], [0.7]], dtype=DOUBLE)
    found = diagnose(lambda t, y: y * y, (0.0, 2.0), y0, batch=batch)
    assert found.blow_up is not None and found.blow_up.sample == 1 and found.worst == 1
    assert found.blow_up.t == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("f", "y0"),
    [
        (lambda t, y: y, ONE),
        (lambda t, y: t * y, ONE),
        (lambda t, y: -torch.tanh(1e4 * y), ONE),
        (lambda t, y: -50 * torch.relu(y - 0.5), ONE),
        (lambda t, y: torch.sin(20 * y), ONE),
        (lambda t, y: torch.exp(-y), 10 * ONE),
        (spiral, torch.tensor([2.0, 0.0], dtype=DOUBLE)),
    ],
)
def test_what_is_lipschitz_is_not_suspected(f, y0):
    found = diagnose(f, (0.0, 3.0), y0)
    assert found.non_lipschitz is None and found.blow_up is None
    assert found.status == "the end of t_span was reached"


@pytest.mark.parametrize(
    ("f", "y0", "t", "component", "value", "power"),
    [
        (lambda t, y: y.abs().sqrt(), 0 * ONE, 0.0, 0, 0.0, 0.5),
        (lambda t, y: -y.abs().sqrt(), ONE, 2.0, 0, 0.0, 0.5),
        (lambda t, y: -y.sign() * y.abs() ** (1 / 3), ONE, 1.5, 0, 0.0, 1 / 3),
        (lambda t, y: -y.sign(), ONE, 1.0, 0, 0.0, 0.0),
        (lambda t, y: -2.0 * (y - 0.5).sign(), ONE, 0.25, 0, 0.5, 0.0),
        # Of two components the second, which jumps with the first.
        (
            lambda t, y: torch.stack((-torch.ones_like(y[0]), y[0].sign() - y[1])),
            torch.tensor([1.0, 1.0], dtype=DOUBLE),
            1.0,
            1,
            0.0,
            0.0,
        ),
    ],
)
def test_non_lipschitz_points(f, y0, t, component, value, power):
    rough = diagnose(f, (0.0, 3.0), y0, max_steps=1000).non_lipschitz
    assert rough is not None
    assert (rough.component, rough.along) == (component, 0)
    assert rough.t == pytest.approx(t, abs=2e-2)
    assert rough.value == pytest.approx(value, abs=1e-6)
    # Of eight halvings the quotient is known to a factor below 2, so that its exponent is to 1/8.
    assert rough.power == pytest.approx(power, abs=0.125)
    assert rough.jump == (power == 0.0)


def test_stiff():
    found = diagnose(van_der_pol(1e3), (0.0, 2e3), torch.tensor([2.0, 0.0], dtype=DOUBLE))
    assert found.stiff and found.method.value == "rodas5p"
    # df/dy has the eigenvalue -3000 at the start, and a larger one on the fast parts of the cycle.
    assert found.stiffness_index >= 3e3 * 2e3
    assert found.non_lipschitz is None and found.blow_up is None


def test_stiffness_is_seen_from_an_explicit_walk_too():
    y0 = torch.tensor([[2.0, 0.0], [2.0, 0.1]], dtype=DOUBLE)
    found = diagnose(van_der_pol(1e3), (0.0, 2e3), y0, method="dopri5", batch="lockstep")
    assert found.stiff and found.reached < 10.0


def test_harmless_spiral():
    found = diagnose(spiral, (0.0, 25.0), torch.tensor([2.0, 0.0], dtype=DOUBLE))
    assert (found.stiff, found.blow_up, found.non_lipschitz, found.kinks, found.random) == (
        False, None, None, (), False
    )  # fmt: skip
    # |J|_2 at (2, 0): J = A diag(3 y^2), so sqrt(0.01 + 4) 12.
    assert found.lipschitz == pytest.approx(12 * math.sqrt(4.01), rel=1e-6) and found.lipschitz_t == 0.0
    assert (found.method.value, found.gradient.value) == ("tsit5", "discrete")
    y0 = torch.tensor([2.0, 0.0], dtype=DOUBLE)
    kept, best = (
        neuralode.solve(spiral, (0.0, 25.0), y0, method="tsit5", rtol=rtol, atol=1e-2 * rtol).y1
        for rtol in (found.rtol.value, 1e-12)
    )
    assert (
        kept - best
    ).norm() <= 3e-3 * y0.norm()  # the advice aims at 1e-3, with errors proportional to rtol


def test_slopes_of_a_linear_system_are_exact():
    A = torch.tensor([[-1.0, 5.0], [0.0, -3.0]], dtype=DOUBLE)
    found = diagnose(lambda t, y: y @ A.T, (0.0, 1.0), torch.ones(4, 2, dtype=DOUBLE), batch="independent")
    assert found.path.t.shape[1] == 4
    torch.testing.assert_close(found.path.lipschitz, torch.full_like(found.path.t, torch.linalg.norm(A, 2)))
    assert found.abscissa == pytest.approx(-1.0)
    assert found.log_norm == pytest.approx(float(torch.linalg.eigvalsh((A + A.T) / 2).max()))
    assert float(found.path.decay.max()) == pytest.approx(3.0) == float(found.path.radius.max())


def test_a_large_state_goes_by_power_iteration():
    scale = -torch.linspace(1.0, 5.0, 100, dtype=DOUBLE)
    found = diagnose(lambda t, y: scale * y, (0.0, 1.0), torch.ones(100, dtype=DOUBLE))
    assert 4.5 < found.lipschitz < 5.0 + 1e-9  # 20 powers of a dense spectrum: from below
    assert math.isnan(found.abscissa) and "unknown" in str(found)


def test_kinks_are_named_by_module_path():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU()), nn.ELU())
    last = nn.Linear(8, 2)

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.last = net, last

        def forward(self, t, y):
            return self.last(self.net(y))

    found = diagnose(Field(), (0.0, 1.0), torch.randn(5, 2), batch="lockstep")
    assert found.kinks == ("net.1 (ReLU)", "net.2.1 (LeakyReLU)")
    assert found.non_lipschitz is None and found.method.value == "bosh3"


def test_kinks_of_a_plain_function_are_named_by_operation():
    found = diagnose(lambda t, y: -torch.relu(y).clamp(max=3.0), (0.0, 1.0), ONE)
    assert found.kinks == ("torch.relu in f", "torch.clamp in f")


def test_random_f_is_found_and_nothing_is_left_changed():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = diagnose(lambda t, y: net(y), (0.0, 1.0), torch.randn(5, 2), batch="lockstep", max_steps=50)
    assert found.random and "random" in found.gradient.reason
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_generators_are_put_back():
    state = torch.get_rng_state()
    diagnose(lambda t, y: -y + 0.0 * torch.randn_like(y), (0.0, 1.0), ONE)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("max_steps", [1, 5, 100])
def test_the_walk_is_bounded(max_steps):
    found = diagnose(lambda t, y: -y.sign(), (0.0, 1e9), ONE, max_steps=max_steps)
    assert found.steps + found.rejected <= max_steps
    assert (
        found.evaluations < 100 * max_steps + 7 * 100
    )  # 7 places, at most 85 evaluations and a few slopes each


@pytest.mark.parametrize("f", [lambda t, y: y * math.nan, lambda t, y: y / 0.0])
def test_an_f_without_values_is_reported(f):
    assert diagnose(f, (0.0, 1.0), ONE).status == "f(t0, y0) is infinite or NaN"


def test_an_f_without_derivatives_has_quotients():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return -3.0 * y

        @staticmethod
        def backward(ctx, g):
            raise NotImplementedError

    found = diagnose(lambda t, y: Opaque.apply(y), (0.0, 1.0), torch.ones(2, dtype=DOUBLE), method="tsit5")
    assert found.lipschitz == pytest.approx(3.0, rel=1e-3)


def test_pytrees_and_args():
    def f(t, y, rate):
        return {"a": -rate * y["a"], "b": y["a"].sum(-1, keepdim=True) - y["b"]}

    y0 = {"a": torch.ones(3, 2, dtype=DOUBLE), "b": torch.zeros(3, 1, dtype=DOUBLE)}
    found = diagnose(f, (0.0, 1.0), y0, args=torch.tensor(2.0, dtype=DOUBLE), batch="independent")
    assert found.abscissa == pytest.approx(-1.0) and found.worst in (0, 1, 2)


def test_complex_states_go_as_pairs():
    y0 = torch.ones(2, dtype=torch.complex128)
    found = diagnose(lambda t, y: 2j * y, (0.0, 1.0), y0)
    assert found.lipschitz == pytest.approx(2.0) and found.abscissa == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="pairs of reals, such as 'auto'"):
        diagnose(lambda t, y: 2j * y, (0.0, 1.0), y0, method="tsit5")


BATCHES = [None, "lockstep", "independent"]


@pytest.mark.parametrize("batch", BATCHES)
def test_the_error_says_that_the_solution_becomes_infinite(batch):
    y0 = torch.tensor([[0.1], [1.0], [0.2]], dtype=DOUBLE)
    with pytest.raises(SolverError, match=r"becomes infinite at t = 1(\.00000\d*)?:") as caught:
        neuralode.solve(lambda t, y: y * y, (0.0, 2.0), y0, batch=batch, rtol=1e-6, atol=1e-8)
    assert "|y| has grown from" in caught.value.hint


@pytest.mark.parametrize("batch", BATCHES)
def test_the_error_says_that_f_is_not_lipschitz(batch):
    with pytest.raises(SolverError, match="f is not Lipschitz here") as caught:
        neuralode.solve(
            lambda t, y: -y.sign(), (0.0, 3.0), torch.ones(1, 1, dtype=DOUBLE), batch=batch, max_steps=500
        )
    assert "f[0] jumps" in caught.value.hint and caught.value.t == pytest.approx(1.0, abs=0.1)


def test_the_message_without_throw_is_short():
    sol = neuralode.solve(lambda t, y: y * y, (0.0, 2.0), ONE, throw=False)
    assert sol.status == Status.STEP_TOO_SMALL and "infinite at" not in sol.message


def test_an_f_that_raises_beside_its_path_does_not_hide_the_failure():
    def f(t, y):
        if y.detach().item() < 0.979:  # the path ends at 0.98; quotients are looked for 0.01 to either side
            raise KeyError("outside")
        return -y.sign()

    with pytest.raises(SolverError, match="max_steps"):
        neuralode.solve(f, (0.0, 3.0), ONE, max_steps=20, first_step=1e-3, max_step=1e-3)
