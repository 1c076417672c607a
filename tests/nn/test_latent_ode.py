"""LatentODE: irregular times, masks, the ELBO and its gradient, predictions."""

import copy

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from neuralode.nn import LatentODE, PoissonProcess
from neuralode.nn.recognition import Recognition
from neuralode.nn.series import as_series

from .series import batch, padded, spoiled

TIGHT = {"rtol": 1e-6, "atol": 1e-7}


def model(seed=0, **options):
    torch.manual_seed(seed)
    return LatentODE(2, latent=3, hidden=8, rec_hidden=6, dec_hidden=8, **options)


def elbo_and_gradient(made, series, seed=1):
    torch.manual_seed(seed)
    made.zero_grad()
    elbo = made.elbo(*series)
    elbo.backward()
    return elbo.detach(), [p.grad.clone() for p in made.parameters() if p.grad is not None]


@pytest.mark.parametrize("filler", [7.0, torch.nan, torch.inf])
@pytest.mark.parametrize("events", [False, True])
def test_what_is_masked_never_matters(filler, events):
    made = model(events=PoissonProcess(3, hidden=4) if events else None)
    clean = elbo_and_gradient(made, batch())
    dirty = elbo_and_gradient(made, spoiled(*batch(), filler))
    assert torch.equal(clean[0], dirty[0])
    for ours, theirs in zip(clean[1], dirty[1], strict=True):
        assert torch.equal(ours, theirs)


def test_padding_never_matters():
    made = model(**TIGHT)
    clean, dirty = (elbo_and_gradient(made, series) for series in (batch(), padded(*batch())))
    # the sums have another length, so that they may be rounded in another order
    assert torch.allclose(clean[0], dirty[0], rtol=1e-5)
    for ours, theirs in zip(clean[1], dirty[1], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_prediction_does_not_see_padding():
    made, query = model(**TIGHT), torch.linspace(0, 4, 9)
    found = []
    for series in (batch(), padded(*batch())):
        torch.manual_seed(3)
        found.append(made.predict(*series, query).mean)
    assert torch.allclose(*found, rtol=1e-5, atol=1e-5)


def test_a_mask_of_times_is_a_mask_of_all_dimensions():
    made = model()
    times, values, mask = batch()
    few = mask[..., 0]
    assert torch.equal(
        elbo_and_gradient(made, (times, values, few))[0],
        elbo_and_gradient(made, (times, values, few[..., None].expand_as(mask)))[0],
    )


def test_posterior_of_a_sample_is_its_own():
    made = model()
    series = batch()
    together = made.encode(*series)
    for n in range(4):
        alone = made.encode(*(part[n : n + 1] for part in series))
        assert torch.allclose(alone.mean, together.mean[n : n + 1], atol=1e-6)
        assert torch.allclose(alone.stddev, together.stddev[n : n + 1], atol=1e-6)


def test_recognition_reads_backward_over_observations_only():
    torch.manual_seed(0)
    recognition = Recognition(dim=1, latent=2, hidden=5, origin=0.5)
    times, values = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[[10.0], [20.0], [30.0]]])
    mask = torch.tensor([[True, False, True]])
    found = recognition(as_series(times, values, mask, 1, 0.5))
    inputs = torch.tensor([[[30.0, 1.0, 3.0], [10.0, 1.0, 0.5]]])  # value, mask, gap to the one before
    mean, _ = recognition.head(recognition.gru(inputs)[0][:, -1]).chunk(2, dim=-1)
    assert torch.allclose(found.mean, mean, atol=1e-6)


def test_series_without_observations_are_allowed():
    made = model()
    times, values, mask = batch()
    mask[1] = False
    elbo, grads = elbo_and_gradient(made, (times, values, mask))
    assert elbo.isfinite() and all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("own", [False, True], ids=["one grid", "times of their own"])
def test_states_are_those_of_each_sample_alone(own):
    made = model(**TIGHT)
    torch.manual_seed(4)
    z0 = torch.randn(12, 3)
    times = torch.rand(12, 6) * 3 if own else (torch.randint(12, (12, 6)) / 4.0)
    together = made.states(z0, times)
    assert together.shape == (12, 6, 3)
    for n in range(0, 12, 5):
        alone = made.states(z0[n : n + 1], times[n : n + 1])
        assert torch.allclose(alone, together[n : n + 1], atol=2e-5)


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("samples", [2, 30], ids=["one grid", "times of their own"])
def test_gradient_is_finite_and_that_of_plain_autograd(samples, events):
    made = model(events=PoissonProcess(3, hidden=4) if events else None)
    series = batch(samples=samples, count=5)
    ours = elbo_and_gradient(made, series)
    assert made.nfev > 0 and made.nfev_backward > 0
    with made.using(gradient="direct"):
        theirs = elbo_and_gradient(made, series)
    assert len(ours[1]) == len(list(made.parameters()))
    assert torch.allclose(ours[0], theirs[0], rtol=1e-5)
    for discrete, direct in zip(ours[1], theirs[1], strict=True):
        assert discrete.isfinite().all()
        assert torch.allclose(discrete, direct, rtol=1e-3, atol=1e-4)


def test_elbo_is_evidence_minus_divergence():
    made, series = model(noise=0.3), batch()
    posterior = made.encode(*series)
    standard = Normal(torch.zeros(4, 3), torch.ones(4, 3))
    divergence = kl_divergence(posterior, standard).sum(1).mean()
    torch.manual_seed(2)
    free = made.elbo(*series, kl_weight=0.0)
    torch.manual_seed(2)
    assert torch.allclose(made.elbo(*series, kl_weight=0.5), free - 0.5 * divergence, rtol=1e-5)
    times, values, mask = series
    torch.manual_seed(2)
    curve = made.decode(posterior.rsample(), torch.where(mask.any(-1), times, 0.0))
    expected = torch.where(mask, Normal(curve, 0.3).log_prob(values), 0.0).sum((1, 2)).mean()
    assert torch.allclose(free, expected, rtol=1e-4)


def test_prediction_has_mean_quantiles_and_curves():
    made, series = model(), batch()
    prediction = made.predict(*series, torch.linspace(4, 0, 9), n_samples=12)
    assert prediction.mean.shape == (4, 9, 2)
    assert prediction.samples.shape == (12, 4, 9, 2)
    assert prediction.quantiles.shape == (3, 4, 9, 2)
    assert prediction.levels == (0.05, 0.5, 0.95)
    assert (prediction.quantiles.diff(dim=0) >= 0).all()
    assert torch.allclose(prediction.samples.mean(0), prediction.mean, atol=1e-6)
    assert not prediction.mean.requires_grad


def test_queries_may_be_of_any_order_and_own():
    made, series = model(**TIGHT), batch()
    query = torch.tensor([3.0, 0.5, 1.5])
    found = []
    for times in (query, query.sort().values, query.expand(4, 3)):
        torch.manual_seed(0)
        found.append(made.predict(*series, times).mean)
    assert torch.allclose(found[0], found[2])
    assert torch.allclose(found[0][:, [1, 2, 0]], found[1], atol=1e-5)


def test_learns_a_family_of_decays():
    """Curves a exp(-t), seen at eight of 24 times: after 150 steps the error is below a third of their spread."""
    torch.manual_seed(0)
    size = 1.0 + torch.rand(64, 1)
    times = torch.rand(64, 24).argsort(1)[:, :8].sort(dim=1).values / 8.0
    values = (size * (-times).exp())[..., None]
    mask = torch.ones(64, 8, dtype=torch.bool)
    made = LatentODE(1, latent=2, hidden=10, rec_hidden=10, dec_hidden=10, noise=0.1)
    optimizer = torch.optim.Adam(made.parameters(), lr=2e-2)
    for step in range(150):
        optimizer.zero_grad()
        loss = -made.elbo(times, values, mask, kl_weight=min(1.0, step / 100))
        loss.backward()
        optimizer.step()
    query = torch.linspace(0.2, 3.0, 20)
    truth = (size * (-query).exp())[..., None]
    error = (made.predict(times, values, mask, query).mean - truth).square().mean().sqrt()
    assert error < truth.std() / 3


def test_copies_after_use():
    made = model()
    made.elbo(*batch())
    assert copy.deepcopy(made).nfev == made.nfev


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda t, v, m: (t, v[..., :1], m), ValueError, r"values: got shape \(4, 7, 1\), takes \(B, T, 2\)"),
        (
            lambda t, v, m: (t[:, 1:], v, m),
            ValueError,
            r"times: got shape \(4, 6\), takes \(4, 7\) or \(7,\)",
        ),
        (lambda t, v, m: (t, v, m.float()), TypeError, "mask: got torch.float32, takes torch.bool"),
        (lambda t, v, m: (t, v, m[:, :3]), ValueError, r"mask: got shape \(4, 3, 2\), takes"),
        (lambda t, v, m: (t.flip(1), v, m | True), ValueError, "times: .* is out of order or before 0"),
        (lambda t, v, m: (t - 9.0, v, m), ValueError, "times: .* is out of order or before 0"),
        (lambda t, v, m: (t * torch.nan, v, m), ValueError, "times: nan at"),
        (lambda t, v, m: (t, v * torch.nan, m), ValueError, "values: NaN or infinite where"),
    ],
)
def test_bad_series_are_explained(change, error, text):
    with pytest.raises(error, match=text):
        model().elbo(*change(*batch()))


def test_queries_before_the_origin_are_refused():
    with pytest.raises(ValueError, match="times: -1 lies before 0"):
        model().predict(*batch(), torch.tensor([-1.0, 2.0]))
