"""Recalibrate sets tolerances every few epochs, logs them, and a resumed run goes on with them."""

import pytest
import torch
from torch import nn

from interrupted import Breaking, Stop
from neuralode.nn import MLPField, ODEBlock
from neuralode.train import Batches, Classifier, Recalibrate, Recipe, fit

EPOCHS, SAMPLES, SIZE = 4, 48, 16


def network() -> nn.Module:
    torch.manual_seed(7)
    block = ODEBlock(MLPField(4, hidden=8), rtol=1e-5, atol=1e-7)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), block, nn.Linear(4, 2))


def settings() -> dict:
    x = torch.randn(SAMPLES, 2, generator=torch.Generator().manual_seed(1))
    loader = Batches((x, (x.norm(dim=1) > 1).long()), SIZE, seed=5)
    return {"loaders": loader, "epochs": EPOCHS, "seed": 3, "log_every": 1, "accelerator": "cpu"}


def callback(**options: object) -> Recalibrate:
    return Recalibrate(2, target=1e-4, tolerances=(1e-2, 1e-3, 1e-4), **options)


def recipe() -> Recipe:
    return Recipe("sgd", lr=0.1)


def losses(history: list[dict]) -> list[tuple]:
    return [
        (row["step"], row.get("loss"), row.get("nfe_forward"), row.get("calibrated_rtol")) for row in history
    ]


def test_it_calibrates_every_other_epoch_and_logs():
    model, call = network(), callback()
    run = fit(Classifier(model, recipe()), callbacks=[call], **settings())
    rows = [row for row in run.history if "calibrated_rtol" in row]
    assert [row["epoch"] for row in rows] == [0, 2]
    assert [row["step"] for row in rows] == [0, 6]
    block = model[3]
    assert (block.method, block.rtol) == ("dopri5", rows[-1]["calibrated_rtol"])
    assert block.atol == pytest.approx(1e-2 * block.rtol)  # the ratio that it had
    assert all(row["calibrated_error"] <= row["calibrated_target"] == 1e-4 for row in rows)
    assert call.chosen is not None and call.chosen.work == rows[-1]["calibrated_nfe"]


def test_the_training_is_that_of_the_tolerance_set_by_hand():
    """The calibration itself moves no weight, buffer or generator."""
    model = network()
    run = fit(Classifier(model, recipe()), callbacks=[Recalibrate(EPOCHS, target=1e-4)], **settings())
    by_hand = network()
    by_hand[3].solver = model[3].solver
    other = fit(Classifier(by_hand, recipe()), **settings())
    assert [row["loss"] for row in run.history if "loss" in row] == [row["loss"] for row in other.history]
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), by_hand.buffers(), strict=True))


@pytest.mark.parametrize("at", [1, 4, 6, 8])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, at):
    whole = Classifier(network(), recipe())
    expected = fit(whole, run=tmp_path / "whole", callbacks=[callback()], **settings())

    broken = Breaking(network(), recipe(), at=at)
    broken.__class__.__name__ = "Classifier"
    with pytest.raises(Stop):
        fit(broken, run=tmp_path / "broken", save_every=0.0, callbacks=[callback()], **settings())
    torch.manual_seed(99)
    resumed = Classifier(network(), recipe())
    got = fit(resumed, run=tmp_path / "broken", resume=True, callbacks=[callback()], **settings())
    assert losses(got.history) == losses(expected.history)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert resumed.model[3].solver == whole.model[3].solver


def test_a_loss_of_ones_own_and_the_noise():
    call = Recalibrate(
        loss=lambda module, batch: module.model(batch[0]).square().mean(), methods=("bosh3", "tsit5")
    )
    model = network()
    run = fit(Classifier(model, recipe()), callbacks=[call], **{**settings(), "epochs": 1})
    assert run.last("calibrated_target") > 1e-3  # a tenth of the noise of 16 samples
    assert model[3].method in ("bosh3", "tsit5")


def test_bad_arguments():
    with pytest.raises(ValueError, match="every_n_epochs must be 1 or more, got 0"):
        Recalibrate(0)
