"""The spirals experiment at a tiny budget."""

import json

import torch

from neuralode.data import observe, spirals
from neuralode.experiments import spirals as experiment


class Oracle:
    """Predicts the truth it is given, shifted by (3, 4)."""

    def __init__(self, truth):
        self.truth = truth

    def predict(self, times_obs, values, mask, times):
        return type("P", (), {"mean": self.truth + torch.tensor([3.0, 4.0])})


def test_rmse_is_per_coordinate():
    data = spirals(4, seed=0)
    found = experiment.rmse(Oracle(data.truth), observe(data, 30), data.times, data.truth)
    assert abs(found - (12.5**0.5)) < 1e-5


def test_results_and_pictures(tmp_path):
    result = experiment.run(tmp_path, counts=(30,), n=40, epochs=2)
    assert [(r.name, r.observations) for r in result.series] == [("latent ODE", 30), ("RNN", 30)]
    assert result.series[0].nfe > 0 and result.series[1].nfe == 0
    for name in result.pictures:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    stored = json.loads((tmp_path / "spirals.json").read_text())
    assert stored["series"][0]["later"] == result.series[0].later
