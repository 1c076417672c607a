"""calibrate finds the cheapest accurate setting, and leaves no trace."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import neuralode
from neuralode import SolverError, calibrate
from neuralode.calibration import search, trials_of
from neuralode.nn import CNF, GatedPlanar, MLPField, ODEBlock

DOUBLE = torch.float64


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    block = ODEBlock(MLPField(6, hidden=16), (0.0, 4.0))
    return nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), block, nn.Linear(6, 2)).to(
        dtype
    )


def data(samples: int = 32, dtype: torch.dtype = torch.float32):
    x = torch.randn(samples, 2, generator=torch.Generator().manual_seed(1)).to(dtype)
    return x, (x.norm(dim=1) > 1).long()


def classified(model: nn.Module, batch) -> torch.Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def spiral(t, y, A):
    return y**3 @ A.T


def matrix() -> torch.Tensor:
    return torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=DOUBLE, requires_grad=True)


@pytest.mark.parametrize("target", [1e-2, 1e-4])
def test_the_choice_is_within_a_factor_three_of_the_best_on_a_fine_grid(target):
    A = matrix()
    y0 = torch.randn(8, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    found = calibrate(
        spiral, y0, t_span=(0.0, 3.0), args=A, batch="lockstep", target=target, methods=("tsit5",)
    )
    assert found.met and found.chosen.gradient_error <= target

    def gradient(rtol: float) -> torch.Tensor:
        sol = neuralode.solve(
            spiral, (0.0, 3.0), y0, args=A, batch="lockstep", method="tsit5", rtol=rtol, atol=1e-2 * rtol
        )
        return torch.autograd.grad(0.5 * sol.y1.square().mean(), A)[0]

    truth = gradient(1e-11)
    grid = [10.0 ** (-k / 5) for k in range(5, 36)]
    errors = [float((gradient(rtol) - truth).norm() / truth.norm()) for rtol in grid]
    # The loosest tolerance whose error, and that of all tighter ones, meets the target.
    good = next(k for k in range(len(grid)) if all(error <= target for error in errors[k:]))
    assert 1 / 3 <= found.chosen.rtol / grid[good] <= 3


def test_the_cheapest_method_of_those_that_meet_the_target_is_chosen():
    y0 = torch.rand(8, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    found = calibrate(lambda t, y: -y * y, y0, t_span=(0.0, 5.0), target=1e-6)
    enough = []
    for name in ("bosh3", "tsit5", "dop853"):
        column = [s for s in found.settings if s.method == name]
        assert [s.rtol for s in column] == sorted((s.rtol for s in column), reverse=True)
        tail = [k for k in range(len(column)) if all(s.gradient_error <= 1e-6 for s in column[k:])]
        enough += column[tail[0] :] if tail else []
    assert found.chosen.work == min(s.work for s in enough)
    assert found.reference.gradient_error < 1e-7  # what the reference is sure to


def test_the_work_is_that_of_the_solves():
    y0 = torch.rand(8, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = calibrate(lambda t, y: -y * y, y0, t_span=(0.0, 5.0), methods=("tsit5",), tolerances=(1e-4, 1e-5))
    sol = neuralode.solve(lambda t, y: -y * y, (0.0, 5.0), y0, method="tsit5", rtol=1e-5, atol=1e-7)
    sol.y1.square().sum().backward()
    last = found.settings[-1]
    assert (last.rtol, last.nfev, last.nfev_backward) == (1e-5, sol.nfev, sol.nfev_backward)
    assert found.options["atol"] == pytest.approx(1e-2 * found.options["rtol"])


def test_noise_is_the_standard_error_of_the_gradient():
    """A linear loss in samples of known spread: the gradient is the mean of x, with error sigma / sqrt(B)."""
    torch.manual_seed(0)
    x = 3.0 + torch.randn(512, 50, dtype=DOUBLE)
    weight = torch.ones(50, dtype=DOUBLE, requires_grad=True)
    trials = trials_of(
        lambda t, y, w: 0.0 * y * w, x, lambda sol: (sol.y1 * weight).mean(0).sum(), (0.0, 1.0), weight,
        {"batch": "lockstep"}, 0,
    )  # fmt: skip
    result = search(trials, ("tsit5",), (1e-2,), None)
    want = math.sqrt(50 / 512) / float(x.mean(0).norm())
    # Eight pieces of 50 numbers: 350 degrees of freedom, so 4 % at one sigma.
    assert result.noise == pytest.approx(want, rel=0.15)
    assert result.target == pytest.approx(0.1 * result.noise)


def state_of(model: nn.Module):
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "grads": {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None},
        "modes": [module.training for module in model.modules()],
        "block": {k: v for k, v in model[3].__dict__.items() if not k.startswith("_")},
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize("gradient_mode", [True, False])
def test_the_model_is_as_it_was(gradient_mode):
    model, batch = network(), data()
    classified(model, batch).backward()
    before = state_of(model)
    with torch.set_grad_enabled(gradient_mode):
        found = calibrate(model, batch, loss=classified, methods=("bosh3", "tsit5"), tolerances=(1e-1, 1e-2))
    after = state_of(model)
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name
    assert before["grads"].keys() == after["grads"].keys()
    assert all(torch.equal(g, after["grads"][name]) for name, g in before["grads"].items())
    assert before["modes"] == after["modes"] and before["block"] == after["block"]
    assert torch.equal(before["random"], after["random"])
    again = calibrate(model, batch, loss=classified, methods=("bosh3", "tsit5"), tolerances=(1e-1, 1e-2))
    assert again == found


def test_a_failing_loss_leaves_the_model_as_it_was():
    model, batch = network(), data()
    before = model[3].solver

    def broken(model, batch):
        classified(model, batch)
        raise KeyError("labels")

    with pytest.raises(KeyError, match="labels"):
        calibrate(model, batch, loss=broken)
    assert model[3].solver is before


def test_apply_sets_every_block_and_keeps_the_ratio():
    torch.manual_seed(0)
    model = nn.Sequential(
        ODEBlock(MLPField(2, hidden=4)), ODEBlock(MLPField(2, hidden=4), rtol=1e-3, atol=1e-3)
    )
    x = torch.randn(16, 2)
    found = calibrate(model, x, loss=lambda m, x: m(x).square().mean(), tolerances=(1e-2, 1e-3))
    assert found.atol_share is None and "atol" not in found.options
    found.apply(model)
    for block, share in zip(model, (1e-2, 1.0), strict=True):
        assert (block.method, block.rtol) == (found.chosen.method, found.chosen.rtol)
        assert block.atol == pytest.approx(share * block.rtol)
    with pytest.raises(ValueError, match=r"Linear has no block of neuralode\.nn"):
        found.apply(nn.Linear(2, 2))


def test_a_random_model_is_compared_with_itself():
    """Hutchinson's noise is the same in every trial, so that the errors fall with the tolerance."""
    torch.manual_seed(0)
    flow = CNF(GatedPlanar(2, width=8), dim=2, trace="hutchinson").double()
    found = calibrate(
        flow, torch.randn(32, 2, dtype=DOUBLE), loss=lambda m, x: -m.log_prob(x).mean(), methods=None,
        tolerances=(1e-2, 1e-4, 1e-6),
    )  # fmt: skip
    assert {s.method for s in found.settings} == {"dopri5"}
    assert found.settings[-1].gradient_error < 1e-4 < found.noise


def test_what_no_setting_meets_is_said():
    found = calibrate(
        network(), data(), loss=classified, target=1e-12, tolerances=(1e-1, 1e-2), methods=("bosh3",)
    )
    assert not found.met and "no setting meets it" in str(found)
    assert found.chosen.gradient_error == min(s.gradient_error for s in found.settings)


def test_a_method_that_fails_is_listed_and_not_chosen():
    y0 = torch.tensor([[2.0, 0.0]], dtype=DOUBLE)

    def van_der_pol(t, y):
        return torch.stack((y[..., 1], 1e3 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)

    found = calibrate(
        van_der_pol, y0, t_span=(0.0, 1.0), methods=("bosh3", "rodas5p"), tolerances=(1e-2, 1e-3), max_steps=300,
        target=1e-2,
    )  # fmt: skip
    failed = [s for s in found.settings if s.failure]
    assert {s.method for s in failed} == {"bosh3"} and "max_steps" in str(found)
    assert found.chosen.method == "rodas5p"


def test_a_reference_that_fails_is_an_error():
    y0 = torch.ones(2, 1, dtype=DOUBLE)
    with pytest.raises(SolverError, match="becomes infinite"):
        calibrate(lambda t, y: y * y, y0, t_span=(0.0, 2.0))


def test_the_curve_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    found = calibrate(lambda t, y: -y * y, torch.rand(8, 2, dtype=DOUBLE), tolerances=(1e-2, 1e-3))
    assert found.plot(tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loss": None}, TypeError, "loss: a module needs one"),
        ({"target": 0.0}, ValueError, "target must be positive, got 0"),
        ({"tolerances": (2.0,)}, ValueError, "takes numbers between 0 and 1"),
        ({"tolerances": ()}, ValueError, "takes numbers between 0 and 1"),
        ({"methods": ("rk4",)}, ValueError, "unknown adaptive method 'rk4'"),
        ({"methods": ("tsit",)}, ValueError, "Did you mean 'tsit5'"),
        ({"methods": ()}, ValueError, "methods is empty"),
        ({"rtol": 1e-3}, TypeError, "rtol: options of solve go with a plain f"),
        ({"loss": lambda m, b: m(b[0])}, TypeError, r"0-d tensor, got \(32, 2\)"),
        ({"loss": lambda m, b: 0.0 * classified(m, b)}, ValueError, "gradient has norm 0"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    with pytest.raises(error, match=message):
        calibrate(network(), data(), **{"loss": classified, **change})


@pytest.mark.parametrize(
    ("option", "message"),
    [({"step": 0.1}, "fixed steps"), ({"rtol": torch.full((6,), 1e-3)}, "rtol and atol as numbers")],
)
def test_blocks_that_no_tolerance_fits_are_refused(option, message):
    model = network()
    for name, value in option.items():
        setattr(model[3], name, value)
    with pytest.raises(ValueError, match=message):
        calibrate(model, data(), loss=classified)
