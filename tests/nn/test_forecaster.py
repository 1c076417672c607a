"""RNNForecaster: the likelihood, masks, and forecasts that cannot see the future."""

import pytest
import torch

from neuralode.nn import RNNForecaster

from .series import batch, padded, spoiled


def model(seed=0):
    torch.manual_seed(seed)
    return RNNForecaster(2, hidden=6)


@pytest.mark.parametrize("filler", [7.0, torch.nan])
def test_what_is_masked_never_matters(filler):
    made = model()
    clean, dirty = (made.nll(*series) for series in (batch(), spoiled(*batch(), filler)))
    assert torch.equal(clean, dirty)
    query = torch.linspace(0, 4, 5)
    clean, dirty = (made.predict(*series, query).mean for series in (batch(), spoiled(*batch(), filler)))
    assert torch.equal(clean, dirty)


def test_padding_never_matters():
    made, query = model(), torch.linspace(0, 4, 5)
    assert torch.allclose(made.nll(*batch()), made.nll(*padded(*batch())), rtol=1e-6)
    found = [made.predict(*series, query).mean for series in (batch(), padded(*batch()))]
    assert torch.allclose(*found, atol=1e-6)


def test_likelihood_by_hand():
    """Two observations with a hole between them: gaps and inputs written out."""
    made = RNNForecaster(1, hidden=4)
    times, values = torch.tensor([[0.5, 1.0, 2.0]]), torch.tensor([[[3.0], [9.0], [5.0]]])
    mask = torch.tensor([[True, False, True]])
    inputs = torch.tensor([[[0.0, 0.0, 0.5], [3.0, 1.0, 1.5]]])
    mean, log_noise = made.head(made.cell(inputs)[0]).chunk(2, dim=-1)
    expected = -torch.distributions.Normal(mean, log_noise.exp()).log_prob(values[:, [0, 2]]).sum()
    assert torch.allclose(made.nll(times, values, mask), expected, rtol=1e-5)


def test_first_forecast_is_the_one_that_was_trained():
    """At the time of the first observation, the forecast is the mean that the likelihood uses."""
    made = RNNForecaster(1, hidden=4)
    times, values = torch.tensor([[0.5, 2.0]]), torch.tensor([[[3.0], [5.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    states, _ = made.cell(torch.tensor([[[0.0, 0.0, 0.5], [3.0, 1.0, 1.0]]]))
    mean, _ = made.head(states).chunk(2, dim=-1)
    found = made.predict(times, values, mask, torch.tensor([1.5])).mean
    assert torch.allclose(found, mean[:, 1:], atol=1e-6)


def test_forecasts_do_not_see_the_future():
    made = model()
    times, values, mask = batch()
    changed = torch.where((times > 1.0)[..., None], values + 5.0, values)
    query = torch.tensor([0.3, 1.0])
    found = [made.predict(times, v, mask, query).mean for v in (values, changed)]
    assert torch.equal(*found)
    later = [made.predict(times, v, mask, torch.tensor([3.0])).mean for v in (values, changed)]
    assert not torch.allclose(*later)


def test_prediction_shapes_and_order():
    made, query = model(), torch.tensor([3.5, 3.1, 3.9])
    prediction = made.predict(*batch(), query, n_samples=6)
    assert prediction.mean.shape == (4, 3, 2)
    assert prediction.samples.shape == (6, 4, 3, 2)
    assert prediction.quantiles.shape == (3, 4, 3, 2)
    assert (prediction.quantiles.diff(dim=0) >= 0).all()
    assert torch.allclose(made.predict(*batch(), query.sort().values).mean, prediction.mean[:, [1, 0, 2]])


def test_gradient_is_finite():
    made = model()
    made.nll(*batch()).backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())
