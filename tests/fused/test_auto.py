"""``backend="auto"``: fused where that is possible and faster, and the solution says which it was, and why."""

import pytest
import torch
from torch import nn

from fused.fields import D, Spiral, lotka_volterra, states
from neuralode import Fused, solve
from neuralode.fused import field, width


def wide(size: int, inner: int):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(size, inner), nn.Tanh(), nn.Linear(inner, size)).to(D)
    return lambda t, y: net(y)


@pytest.mark.parametrize("batch", [None, "independent"])
def test_a_small_field_is_fused(batch):
    y0 = states(3, 2) if batch else states(1, 2)[0]
    for f in (lotka_volterra, Spiral(4)):
        for _ in range(2):
            solution = solve(f, (0.0, 0.1), y0, batch=batch, backend="auto")
            assert solution.report["backend"] == "fused"
            assert "multiply-adds" in solution.report["why"]


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("samples", [1, 3, 20])
def test_wide_products_are_left_to_eager(samples, graded, monkeypatch):
    monkeypatch.setattr(width, "LIMITS", dict.fromkeys(width.LIMITS, 100))
    count = []
    real = field.trace
    monkeypatch.setattr(field, "trace", lambda *args: count.append(1) or real(*args))
    f = wide(2, 26)  # 104 multiply-adds
    with torch.set_grad_enabled(graded):
        for _ in range(3):
            solution = solve(f, (0.0, 0.1), states(samples, 2), batch="independent", backend="auto")
            assert solution.report["backend"] == "eager"
            assert "104 multiply-adds" in solution.report["not fused"]
    assert len(count) == 1  # the answer is kept
    told = solve(f, (0.0, 0.1), states(samples, 2), batch="independent", backend=Fused(fallback=True))
    assert told.report == {"backend": "fused"}
    torch.testing.assert_close(told.y1, solution.y1, rtol=1e-9, atol=1e-9)


def test_the_limits_are_of_the_case():
    assert set(width.LIMITS) == {(few, graded) for few in (True, False) for graded in (True, False)}


def test_a_refusal_is_kept_until_f_changes(monkeypatch):
    count = []
    real = field.trace
    monkeypatch.setattr(field, "trace", lambda *args: count.append(1) or real(*args))
    mixing = True

    def f(t, y):
        return y - y.mean(0) if mixing else -y

    for _ in range(3):
        assert (
            solve(f, (0.0, 0.1), states(5, 2), batch="independent", backend="auto").report["backend"]
            == "eager"
        )
    assert len(count) == 1
    mixing = False
    assert (
        solve(f, (0.0, 0.1), states(5, 2), batch="independent", backend="auto").report["backend"] == "fused"
    )
