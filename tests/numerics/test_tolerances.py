"""rtol and atol entry by entry: tensors, and structures like y0's, in every batch mode."""

import pytest
import torch

import neuralode
from neuralode.layout import Layout
from neuralode.tolerances import check_tolerance

BATCHES = [None, "lockstep", "independent"]


def fast_and_slow(t, y):
    """A fast wave and a slow decay, of one shape each, side by side."""
    return {
        "fast": torch.cos(40 * t).reshape(-1, *(1,) * (y["fast"].dim() - 1)) + 0 * y["fast"],
        "slow": -y["slow"],
    }


def state():
    return {"fast": torch.zeros(3, 2, dtype=torch.float64), "slow": torch.ones(3, dtype=torch.float64)}


def evaluations(batch, atol):
    with torch.no_grad():
        sol = neuralode.solve(fast_and_slow, (0.0, 3.0), state(), rtol=1e-9, atol=atol, batch=batch)
    return torch.as_tensor(sol.nfev)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_leaf_with_a_loose_tolerance_costs_nothing(batch):
    tight = evaluations(batch, 1e-6)
    loose = evaluations(batch, {"fast": 1.0, "slow": 1e-6})
    assert (loose < 0.5 * tight).all()
    entries = {"fast": torch.tensor([1.0, 2.0]), "slow": 1e-6}
    assert (evaluations(batch, entries) < 0.5 * tight).all()
    assert torch.equal(evaluations(batch, {"fast": 1e-6, "slow": torch.tensor(1e-6)}), tight)


def test_one_row_a_sample_and_rows_for_all():
    rows = torch.tensor([[1.0], [1e-6], [1.0]], dtype=torch.float64)
    counts = evaluations("independent", {"fast": rows, "slow": 1e-6})
    assert counts[1] > 2 * counts[0] and counts[0] == counts[2]
    per_sample = torch.tensor([1e-6, 1e-3, 1e-6], dtype=torch.float64)  # "slow" has nothing but the batch
    counts = evaluations("independent", {"fast": 10.0, "slow": per_sample})
    assert counts[0] == counts[2] >= counts[1]


@pytest.mark.parametrize(
    ("batched", "tree", "shape"),
    [
        (True, {"fast": 1e-3, "slow": 1e-4}, (1, 3)),
        (True, {"fast": torch.ones(3, 1), "slow": 1e-4}, (3, 3)),
        (False, {"fast": torch.ones(2), "slow": 1e-4}, (9,)),
    ],
)
def test_shapes(batched, tree, shape):
    layout = Layout(state(), batched)
    y0 = layout.ravel(state())
    found = check_tolerance("atol", tree, y0, layout)
    assert found.shape == shape and found.dtype == torch.float64


@pytest.mark.parametrize(
    ("atol", "error", "match"),
    [
        ({"fast": 1e-3}, ValueError, r"atol must be a number, a tensor, or have y0's structure"),
        ((1e-3, 1e-3), ValueError, r"leaves \[\"\['fast'\]\", \"\['slow'\]\"\], got \['\[0\]', '\[1\]'\]"),
        ({"fast": torch.ones(5), "slow": 1.0}, ValueError, r"atol\['fast'\] has shape \(5,\).*y0's \(3, 2\)"),
        ({"fast": "a", "slow": 1.0}, TypeError, r"atol\['fast'\] must be a number or a tensor, got str"),
        ({"fast": -1.0, "slow": 1.0}, ValueError, "atol must be >= 0 and finite, got -1.0"),
        (None, TypeError, "atol must be a number or a tensor, got NoneType"),
    ],
)
def test_bad_trees(atol, error, match):
    with pytest.raises(error, match=match):
        neuralode.solve(fast_and_slow, (0.0, 1.0), state(), atol=atol)


def test_a_structure_needs_a_structured_state():
    with pytest.raises(TypeError, match="rtol must be a number or a tensor, got tuple"):
        neuralode.solve(lambda t, y: -y, (0.0, 1.0), torch.ones(2), rtol=(1e-3, 1e-3))
