"""Tasks, recipes, loaders and counters, with models small enough to be read."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from neuralode.train import Batches, Classifier, DensityTask, Draws, Progress, Recipe, SeriesTask, fit
from neuralode.train.nfe import counting, evaluations


class Counted(nn.Linear):
    """A linear layer that claims evaluations."""

    nfev, nfev_backward = 7, 5


class Normal(nn.Module):
    """N(mean, 1) with a penalty."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2))
        self.penalty = torch.zeros(())

    def log_prob(self, x: Tensor) -> Tensor:
        self.penalty = 0.5 * self.mean.square().sum()
        return torch.distributions.Normal(self.mean, 1.0).log_prob(x).sum(dim=-1)


class Mean(nn.Module):
    """A series model whose one parameter is the level; records the weights it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.weights: list[float] = []

    def elbo(self, times: Tensor, values: Tensor, mask: Tensor, kl_weight: float = 1.0) -> Tensor:
        self.weights.append(kl_weight)
        return -(values - self.level).square().mean()

    def predict(self, times: Tensor, values: Tensor, mask: Tensor, query: Tensor) -> SimpleNamespace:
        return SimpleNamespace(mean=self.level.expand(*query.shape, values.shape[-1]))


class Level(Mean):
    """The same without an ELBO."""

    elbo = None

    def __getattribute__(self, name: str):
        if name == "elbo":
            raise AttributeError(name)
        return super().__getattribute__(name)

    def nll(self, times: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        return (values - self.level).square().mean()


def test_classifier_learns_and_counts():
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    y = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(4, 4), Counted(4, 2))
    loaders = (Batches((x, y), 32), Batches((x, y), 100, shuffle=False))
    run = fit(Classifier(model, Recipe(lr=0.05)), loaders, epochs=4, accelerator="cpu")
    assert run.last("val_error") < 0.05
    assert (run.last("nfe_forward"), run.last("nfe_backward"), run.last("val_nfe")) == (7, 5, 7)
    assert (run.path, run.steps, run.complete) == (None, 32, True)
    # The mean over batches of 100, 100 and 56 is weighted by their sizes.
    logits = model(x)
    assert run.last("val_loss") == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)


def test_density_task_finds_the_penalised_mean():
    # max -|x - m|^2/2 - |m|^2/2 has its maximum at half the mean of the data.
    model = Normal()
    data = 3.0 + torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    fit(DensityTask(model, Recipe(lr=0.1)), Batches(data, 64), epochs=200, accelerator="cpu")
    torch.testing.assert_close(model.mean.detach(), data.mean(dim=0) / 2, rtol=1e-3, atol=0)


@pytest.mark.parametrize("model", [Mean(), Level()], ids=["elbo", "nll"])
def test_series_task(model):
    times = torch.linspace(0, 1, 5).expand(8, 5)
    values, mask = torch.full((8, 5, 1), 2.0), torch.ones(8, 5, dtype=torch.bool)
    truth = (times, torch.full((8, 5, 1), 2.0))
    loaders = (Batches((times, values, mask), 8), Batches((times, values, mask, *truth), 8, shuffle=False))
    task = SeriesTask(model, Recipe(lr=0.1, schedule="cosine"), kl_rate=0.5)
    run = fit(task, loaders, epochs=60, accelerator="cpu", log_every=1)
    assert run.last("val_rmse") < 0.1
    assert run.last(f"val_{task.metric}") == run.last("val_rmse")
    if model.weights:
        assert model.weights[:5] == [0.0, 1.0, 0.5, 1.0, 0.75]  # training, then validation with the full term


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"optimizer": "lion"}, "optimizer"),
        ({"schedule": "x"}, "schedule"),
        ({"lr": 0.0}, "lr"),
        ({"warmup": 1.0}, "warmup"),
    ],
)
def test_a_wrong_recipe_is_named(arguments, named):
    with pytest.raises(ValueError, match=f"^{named}: got"):
        Recipe(**arguments)


def test_the_schedule_rises_and_falls():
    recipe = Recipe(schedule="cosine", warmup=0.25)
    factors = [recipe.factor(step, 40) for step in range(41)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert (max(factors), factors[40]) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))
    assert Recipe(schedule="exponential").factor(40, 40) == pytest.approx(0.01)


def test_clipping_bounds_the_gradient():
    model = Normal()
    x = torch.full((4, 2), 1e6)
    fit(DensityTask(model, Recipe("sgd", lr=1.0, clip=1.0)), Batches(x, 4), accelerator="cpu")
    assert model.mean.detach().norm() < 2.0


def test_batches_cover_the_data_once_an_epoch_in_a_new_order():
    loader = Batches(torch.arange(10), 4, seed=3)
    passes = [torch.cat(list(loader)).tolist() for _ in range(2)]
    assert [sorted(each) for each in passes] == [list(range(10))] * 2
    assert passes[0] != passes[1]
    assert passes == [
        torch.cat(list(again)).tolist() for again in [Batches(torch.arange(10), 4, seed=3)] for _ in "ab"
    ]
    assert [len(part) for part in Batches(torch.arange(10), 4, drop_last=True)] == [4, 4]


def test_draws_differ_by_batch_and_epoch_and_repeat():
    make = lambda: Draws(lambda g: torch.rand((), generator=g).item(), steps=3, seed=1)  # noqa: E731
    loader = make()
    numbers = [*loader, *loader]
    assert len(set(numbers)) == 6
    again = make()
    assert numbers == [*again, *again]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Batches((torch.ones(3), torch.ones(4)), 2), "tensors"),
        (lambda: Batches(torch.ones(3), 0), "size"),
        (lambda: Draws(lambda g: 0, 0), "steps"),
    ],
)
def test_wrong_loaders_are_named(call, named):
    with pytest.raises(ValueError, match=f"^{named}:"):
        call()


def test_a_loader_without_a_length_is_refused():
    with pytest.raises(TypeError, match="has no len"):
        fit(DensityTask(Normal()), iter([torch.ones(2, 2)]))


def test_only_the_outermost_counter_counts():
    model = Counted(1, 1)
    model.inner = Counted(1, 1)
    assert evaluations(counting(nn.Sequential(model, nn.ReLU()))) == (7, 5)


def test_the_watcher_is_told_of_the_end(capfd):
    seen: list[Progress] = []
    fit(DensityTask(Normal()), Batches(torch.ones(8, 2), 2), epochs=2, progress=seen.append, title="x")
    last = seen[-1]
    assert (last.title, last.step, last.steps, last.epoch, last.epochs) == ("x", 8, 8, 2, 2)
    assert "nll" in last.text()
    assert "NFE 0+0" in last.text()
    assert capfd.readouterr() == ("", "")


def test_the_bar_prints_loss_metric_and_nfe(capfd):
    model = nn.Sequential(Counted(2, 2))
    loader = Batches((torch.ones(8, 2), torch.ones(8).long()), 2)
    fit(Classifier(model), loader, epochs=3, progress=True, title="digits")
    out, err = capfd.readouterr()
    assert err == ""
    assert "digits 100 %  loss" in out
    assert "error " in out
    assert "NFE 7+5" in out
