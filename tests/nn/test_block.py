"""ODEBlock: the solution, its options, its counts."""

import copy
import pickle

import pytest
import torch
from torch import nn

from neuralode.nn import MLPField, ODEBlock


class Decay(nn.Module):
    """dx/dt = -k x."""

    def __init__(self):
        super().__init__()
        self.k = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))

    def forward(self, t, x):
        return -self.k * x


@pytest.mark.parametrize("batch", ["lockstep", "independent"])
def test_solution_and_gradient_of_decay(batch):
    block = ODEBlock(Decay(), (0.0, 2.0), rtol=1e-9, atol=1e-11, batch=batch)
    x = torch.linspace(1, 2, 6, dtype=torch.float64).reshape(3, 2)
    y = block(x)
    assert torch.allclose(y, x * torch.tensor(-1.6).double().exp(), rtol=1e-7)
    y.sum().backward()
    assert block.field.k.grad.item() == pytest.approx(-2.0 * y.sum().item(), rel=1e-6)


def test_output_times_come_first():
    block = ODEBlock(Decay(), rtol=1e-9, atol=1e-11)
    x, times = torch.ones(3, 2, dtype=torch.float64), torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    y = block(x, t_eval=times)
    assert y.shape == (3, 3, 2)
    # between steps the interpolant is one order below the method: looser than the ends
    assert torch.allclose(y, (-0.8 * times).exp()[:, None, None].expand_as(y), rtol=1e-6)


def test_state_may_be_a_tuple():
    block = ODEBlock(lambda t, s: (s[1], -s[0]), (0.0, 1.0), rtol=1e-8, atol=1e-10)
    one, zero = torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)
    cosine, _ = block((one, zero))
    assert torch.allclose(cosine, torch.tensor(1.0).double().cos().expand(4, 1), atol=1e-7)


def test_evaluations_are_counted():
    block = ODEBlock(MLPField(2, hidden=8))
    assert (block.nfev, block.nfev_backward) == (0, 0)
    y = block(torch.randn(5, 2))
    assert block.nfev > 6 and block.nfev_backward == 0
    y.sum().backward()
    assert block.nfev_backward > 6
    first = block.nfev
    block(torch.randn(5, 2))
    assert abs(block.nfev - first) < first
    assert isinstance(block.nfev, int)


def test_tolerance_is_an_attribute():
    torch.manual_seed(0)
    block = ODEBlock(MLPField(2, hidden=8), (0.0, 5.0), rtol=1e-6, atol=1e-7)
    x = torch.randn(5, 2)
    with torch.no_grad():
        block(x)
        tight = block.nfev
        block.rtol = block.atol = 1e-2
        block(x)
    assert block.rtol == 1e-2 and block.nfev < tight / 2


def stop_inside(block):
    with block.using(rtol=0.5, method="tsit5") as same:
        assert same is block and (block.rtol, block.method) == (0.5, "tsit5")
        raise RuntimeError("stop")


def test_using_is_undone():
    block = ODEBlock(MLPField(2), rtol=1e-3)
    with pytest.raises(RuntimeError, match="stop"):
        stop_inside(block)
    assert (block.rtol, block.method) == (1e-3, "dopri5")


def test_default_is_lockstep():
    assert ODEBlock(MLPField(2)).batch == "lockstep"


@pytest.mark.parametrize(
    "call",
    [lambda: ODEBlock(MLPField(2), rtoll=1e-3), lambda: ODEBlock(MLPField(2)).using(rtoll=1e-3).__enter__()],
    ids=["construct", "using"],
)
def test_unknown_option_names_the_nearest(call):
    with pytest.raises(TypeError, match=r"'rtoll' is not an option of the solver\. Did you mean 'rtol'\?"):
        call()


def test_bad_option_is_refused_when_it_is_set():
    block = ODEBlock(MLPField(2))
    with pytest.raises(ValueError, match="dopri6"):
        block.method = "dopri6"
    assert block.method == "dopri5"


def test_field_must_be_callable():
    with pytest.raises(TypeError, match="field: got int, takes a callable"):
        ODEBlock(3)


def test_a_used_block_can_be_copied_and_sent():
    block = ODEBlock(MLPField(2, hidden=4), rtol=1e-3)
    y = block(torch.ones(1, 2))
    for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert twin.rtol == 1e-3
        assert torch.equal(twin(torch.ones(1, 2)), y)


def test_parameters_and_state_dict_are_those_of_the_field():
    block = ODEBlock(MLPField(2, hidden=4))
    assert all(name.startswith("field.") for name in block.state_dict())
    assert "rtol=0.01" in repr(ODEBlock(MLPField(2), rtol=0.01))
