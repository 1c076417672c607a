"""Samples that step by themselves, lockstep, and the agreement of the two loops."""

import pytest
import torch

import neuralode
from problems import VAN_DER_POL


def stiff_or_not(t, y, mu):
    return torch.stack((y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


MU = torch.linspace(0.1, 5.0, 7, dtype=torch.float64)
START = torch.stack((torch.linspace(1.5, 2.5, 7), torch.linspace(-0.3, 0.3, 7)), 1).double()
OPTIONS = {"rtol": 1e-6, "atol": 1e-8}


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "bosh3"])
def test_a_sample_alone_is_the_sample_in_a_batch_and_both_loops_agree(method):
    times = torch.linspace(0, 10, 9, dtype=torch.float64)
    together = neuralode.solve(
        stiff_or_not,
        (0.0, 10.0),
        START,
        args=(MU,),
        t_eval=times,
        batch="independent",
        method=method,
        **OPTIONS,
    )
    for b in range(len(MU)):
        host = neuralode.solve(
            stiff_or_not, (0.0, 10.0), START[b], args=(MU[b],), t_eval=times, method=method, **OPTIONS
        )
        counts = [int(getattr(together, name)[b]) for name in ("nfev", "accepted", "rejected")]
        assert counts == [host.nfev, host.accepted, host.rejected]
        # The last digit of a power may differ between Python and torch; relaxation oscillators amplify that.
        torch.testing.assert_close(together.y[:, b], host.y, rtol=1e-9, atol=1e-9)
    assert len(set(together.accepted.tolist())) > 3  # the samples really differ


def test_permutation():
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    one = neuralode.solve(stiff_or_not, (0.0, 10.0), START, args=(MU,), batch="independent", **OPTIONS)
    two = neuralode.solve(
        stiff_or_not, (0.0, 10.0), START[order], args=(MU[order],), batch="independent", **OPTIONS
    )
    assert torch.equal(one.y[:, order], two.y) and torch.equal(one.nfev[order], two.nfev)


@pytest.mark.parametrize("step", [None, 0.13])
def test_spans_of_their_own(step):
    t0 = torch.tensor([0.0, 1.0, -2.0, 0.5], dtype=torch.float64)
    t1 = torch.tensor([1.0, -1.0, -2.0, 0.6], dtype=torch.float64)
    y0 = torch.ones(4, 2, dtype=torch.float64)
    sol = neuralode.solve(
        lambda t, y: torch.cos(t) * y, (t0, t1), y0, batch="independent", rtol=1e-9, atol=1e-9, step=step
    )
    exact = torch.exp(torch.sin(t1) - torch.sin(t0))[:, None].expand(4, 2)
    torch.testing.assert_close(sol.y1, exact, rtol=1e-6 if step else 1e-8, atol=0)
    assert torch.equal(sol.t, torch.stack((t0, t1), 1)) and sol.accepted[2] == 0


def test_outputs_of_their_own():
    t1 = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    times = t1[:, None] * torch.tensor([0.0, 0.3, 0.3, 1.0], dtype=torch.float64)
    y0 = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    sol = neuralode.solve(
        lambda t, y: -y, (torch.zeros(3), t1), y0, t_eval=times, batch="independent", rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(sol.y[..., 0].T, y0 * torch.exp(-times), rtol=1e-8, atol=0)
    assert sol.t is times


def test_every_step_as_output():
    sol = neuralode.solve(
        stiff_or_not, (0.0, 5.0), START, args=(MU,), t_eval="steps", batch="independent", **OPTIONS
    )
    for b, count in enumerate(sol.accepted.tolist()):
        assert not sol.t[b, : count + 1].isnan().any() and sol.t[b, count + 1 :].isnan().all()
        assert not sol.y[: count + 1, b].isnan().any() and sol.y[count + 1 :, b].isnan().all()
    one = neuralode.solve(VAN_DER_POL.f, (0.0, 5.0), VAN_DER_POL.y0, t_eval="steps")
    assert len(one.t) == one.accepted + 1 and torch.all(one.t.diff() > 0)


@pytest.mark.parametrize("kind", ["blow-up", "nan", "max_steps"])
def test_a_failing_sample_leaves_the_others_bit_for_bit(kind):
    def f(t, y, c):
        return {"blow-up": c * y * y, "nan": -y + torch.where((c > 0) & (t > 0.5), torch.nan, 0.0),
                "max_steps": -y + c * torch.sin(1e4 * t)}[kind]  # fmt: skip

    y0 = torch.tensor([[1.0], [2.0], [0.5]], dtype=torch.float64)
    c = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    options = {"batch": "independent", "throw": False, "max_steps": 300}
    sol = neuralode.solve(f, (0.0, 2.0), y0, args=(c,), **options)
    rest = neuralode.solve(f, (0.0, 2.0), y0[[0, 2]], args=(c[[0, 2]],), **options)
    assert sol.status[1] < 0 and sol.status[0] == sol.status[2] == 0
    assert torch.equal(sol.y1[[0, 2]], rest.y1) and sol.y1[1].isnan().all()


def test_independent_samples_do_not_pay_for_the_hardest_in_accuracy():
    sol = neuralode.solve(
        stiff_or_not, (0.0, 10.0), START, args=(MU,), batch="independent", rtol=1e-8, atol=1e-8
    )
    tight = neuralode.solve(
        stiff_or_not, (0.0, 10.0), START, args=(MU,), batch="independent", rtol=1e-11, atol=1e-11
    )
    assert float((sol.y1 - tight.y1).abs().max()) < 1e-5
    assert int(sol.nfev.min()) < 0.5 * int(sol.nfev.max())
