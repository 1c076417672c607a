"""The paper's second limit: a minibatch must not cost more than its samples alone."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import minibatches


@pytest.mark.parametrize(
    "name", ["oscillators", pytest.param("network", marks=pytest.mark.slow)], ids=["oscillators", "network"]
)
def test_a_minibatch_costs_what_its_samples_cost(name):
    alone, costs = minibatches.measure(minibatches.TASKS[name]())
    assert costs["compact"].rows <= 1.1 * alone
    assert costs["compact"].error <= 10
    assert costs["compact"].rows <= costs["independent"].rows
