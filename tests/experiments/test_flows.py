"""The flows experiment at a tiny budget."""

import json
import math

import torch

from neuralode.data import two_moons
from neuralode.experiments import flows


def test_results_pictures_and_that_training_helps(tmp_path):
    result = flows.run(tmp_path, densities=("two_moons",), width=8, steps=80)
    assert [(f.density, f.name) for f in result.flows] == [("two_moons", "CNF"), ("two_moons", "planar flow")]
    untrained = (
        -torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
        .log_prob(two_moons(5000, 1))
        .mean()
    )
    for found in result.flows:
        assert math.isfinite(found.nll) and found.nll < untrained
    assert result.flows[0].nfe > 0 and result.flows[1].nfe == 0
    assert result.flows[0].steps == result.flows[1].steps == 80
    assert (tmp_path / result.pictures[0]).read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "flows.json").read_text())["flows"][0]["nll"] == result.flows[0].nll
