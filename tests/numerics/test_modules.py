"""Gradients through modules as people build them: shared, frozen, wrapped, hooked, normalised."""

import warnings

import pytest
import torch
from torch import nn

import neuralode
from neuralode import SolverWarning

GRADIENTS = ["direct", "discrete", "checkpointed", "interpolated", "backsolve"]
each = pytest.mark.parametrize("gradient", GRADIENTS)


class Low(nn.Module):
    """A frozen layer with a trained update of rank one (Hu et al., LoRA, 2022)."""

    def __init__(self, size):
        super().__init__()
        self.base = nn.Linear(size, size).double().requires_grad_(requires_grad=False)
        self.down = nn.Parameter(0.3 * torch.randn(1, size, dtype=torch.float64))
        self.up = nn.Parameter(0.3 * torch.randn(size, 1, dtype=torch.float64))

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


class Field(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.register_buffer("shift", torch.tensor(0.1, dtype=torch.float64))

    def forward(self, t, y):
        return self.layers(y) + self.shift * torch.cos(t)


def shared():
    layer = nn.Linear(3, 3).double()
    return Field(layer, nn.Tanh(), layer)


def parametrized():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3).double()).eval()
    return Field(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3).double()), nn.Tanh(), layer)


def of_low_rank():
    return Field(Low(3), nn.Tanh(), Low(3))


BUILDERS = [shared, parametrized, of_low_rank]


def solved(f, gradient, y0=None, **options):
    y0 = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3) if y0 is None else y0
    return neuralode.solve(f, (0.0, 1.0), y0, gradient=gradient, rtol=1e-9, atol=1e-9, **options).y1


def build(builder):
    torch.manual_seed(0)
    return builder()


@each
@pytest.mark.parametrize("builder", BUILDERS)
def test_parameters_get_the_gradient_of_autograd(builder, gradient):
    f = build(builder)
    (solved(f, gradient) ** 2).sum().backward()
    got = {name: p.grad for name, p in f.named_parameters()}
    f.zero_grad()
    y, steps = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3), 400
    for n in range(steps):  # the midpoint rule: errors of 1e-6
        t = torch.tensor(n / steps, dtype=torch.float64)
        y = y + f(t + 0.5 / steps, y + 0.5 / steps * f(t, y)) / steps
    (y**2).sum().backward()
    for name, p in f.named_parameters():
        assert (got[name] is None) == (not p.requires_grad), name
        if p.requires_grad:
            torch.testing.assert_close(got[name], p.grad, rtol=1e-4, atol=1e-5)


@each
def test_a_parameter_is_ready_once(gradient):
    """What distributed training counts on: one accumulation a backward pass, however many steps."""
    f, ready = build(shared), []
    for name, p in f.named_parameters():
        p.register_post_accumulate_grad_hook(lambda _, name=name: ready.append(name))
    solved(f, gradient, batch="independent").sum().backward()
    assert sorted(ready) == sorted(name for name, _ in f.named_parameters())


@each
def test_nothing_is_kept_without_gradients(gradient):
    f = build(shared)
    with torch.no_grad():
        y1 = solved(f, gradient)
    assert not y1.requires_grad
    for p in f.parameters():
        p.requires_grad_(requires_grad=False)
    assert not solved(f, gradient).requires_grad


def test_batch_norm_in_training_mode_is_warned_of():
    f = Field(nn.Linear(3, 3).double(), nn.BatchNorm1d(3).double())
    with pytest.warns(SolverWarning, match=r"BatchNorm1d in training mode \(layers.1\).*GroupNorm"):
        neuralode.solve(f, (0.0, 1.0), torch.ones(4, 3, dtype=torch.float64), method="rk4", step=0.5)
    f.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(f, "discrete")


@each
def test_dropout_says_what_to_do(gradient):
    f = Field(nn.Linear(3, 3).double(), nn.Dropout(0.5))
    if gradient == "direct":
        return  # autograd keeps the masks that were drawn
    with pytest.raises(ValueError, match=r"f is random.*in args, or call .eval\(\)"):
        solved(f, gradient)
