"""Achieved error against tolerance, and solutions against SciPy."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import neuralode
from neuralode.methods import Method
from problems import AMPLIFYING, BRUSSELATOR, DETEST, FORCED, LOTKA_VOLTERRA, STEADY, TURN, VAN_DER_POL
from work import our_work, ratio_at_equal_error, scipy_work, work_of

# The error of rkc2 follows the tolerance otherwise: see test_stabilised.
METHODS = {m.name: m for m in neuralode.methods() if m.adaptive and m.name != "rkc2"}
PROBLEMS = (*STEADY, TURN)
# The same formulas in both codes.
PAIRS = (("bosh3", "RK23"), ("dopri5", "RK45"), ("dop853", "DOP853"))
SCIPYS = [pair for pair in PAIRS if pair[0] in METHODS]
# Errors over the tolerance above 30, all at 1e-3 or next to it, where the leading term of the estimate does not rule:
# SciPy's RK45 errs by 57 on van der Pol's equation and by 68 on the rigid body there. fehlberg2's estimate is 1/512 of
# a difference of two slopes, and that of kencarp3 is of an order too high on linear problems. trbdf2 and rosenbrock23
# go on with the solution of order two whose error they estimate, so that errors grow as tol^(2/3). Methods of Kvaerno
# and of Kennedy & Carpenter are made for stiff problems; on others their estimates are small.
FAR = {"fehlberg2": 2500.0, "trbdf2": 600.0, "rosenbrock23": 600.0, "kvaerno5": 180.0, "kencarp5": 150.0} | {
    "kvaerno3": 110.0, "tsit5": 110.0, "auto": 110.0, "fehlberg5": 90.0, "kencarp3": 250.0, "kvaerno4": 70.0,
    "dopri5": 60.0, "cash_karp": 55.0, "vern8": 50.0, "kencarp4": 45.0, "radau5": 40.0,
}  # fmt: skip
# Slopes that are owed to the same; where steps are many, what Newton's iteration leaves of every stage adds up
# (kvaerno3 and 4), and errors at the loosest tolerances are small by luck (kencarp3, vern8, vern9, the pairs).
FLATTER = {"trbdf2": 0.55, "rosenbrock23": 0.38, "bdf": 0.75} | dict.fromkeys(
    ("fehlberg2", "cash_karp", "kvaerno3", "kvaerno4", "kvaerno5", "kencarp3", "kencarp4", "kencarp5"), 0.65
) | dict.fromkeys(("vern8", "vern9"), 0.7)  # fmt: skip
QUICK = ((FORCED, None), (FORCED, "independent"), (BRUSSELATOR, None))
SLOW = (*((problem, None) for problem in PROBLEMS), (VAN_DER_POL, "independent"))


def ladder(method: Method) -> list[float]:
    """Tolerances from where the leading error term rules down to steps of about 1e-3 of the span, or to rounding."""
    ends = {"fehlberg2": (-4, -7), "heun_euler": (-2.5, -5), "bosh3": (-4, -8), "bdf": (-4, -9)} | {
        "trbdf2": (-3, -6.5), "rosenbrock23": (-3, -6), "kvaerno3": (-3, -7), "kencarp3": (-3, -7),
        "kencarp4": (-3, -8), "kencarp5": (-3, -9),
    }  # fmt: skip
    deepest = max(-12.0, -2.5 * max(method.error_order + 1, method.order))
    return np.logspace(*ends.get(method.name, (-3, deepest)), 6).tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("problem", "batch"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW if case not in QUICK)],
    ids=repr,
)
def test_error_is_proportional_to_tolerance(problem, method, batch):
    tolerances = ladder(METHODS[method])
    errors = [work_of(problem, method, tol, batch=batch).error for tol in tolerances]
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    # The phase error of van der Pol's equation changes its sign between two tolerances, which makes the slope steep.
    # bdf holds the error of a step, O(h^(k + 1)), at the tolerance: the sum of all goes with its k / (k + 1) th power.
    assert FLATTER.get(method, 0.8) <= slope <= (1.45 if problem is VAN_DER_POL else 1.3)
    if problem in STEADY:
        assert max(e / tol for e, tol in zip(errors, tolerances, strict=True)) <= FAR.get(method, 30.0)


@pytest.mark.parametrize("problem", DETEST, ids=repr)
def test_detest(problem):
    # The orbits multiply errors by up to 1e4.
    assert work_of(problem, "dopri5", 1e-9).error <= 1e-5


@pytest.mark.parametrize(("ours", "theirs"), SCIPYS)
@pytest.mark.parametrize("problem", AMPLIFYING, ids=repr)
def test_same_formulas_and_control_as_scipy(problem, ours, theirs):
    """With SciPy's elementary control: its evaluations to a few steps, at every tolerance, and errors like its own."""
    works = [
        (work_of(problem, ours, tol, controller="i"), scipy_work(problem, theirs, tol))
        for tol in ((1e-4, 1e-6) if ours == "bosh3" else (1e-5, 1e-7, 1e-9))
    ]
    assert max(a.nfev / b.nfev for a, b in works) <= 1.1
    assert max(a.error / b.error for a, b in works) <= 3


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "theirs"), SCIPYS)
@pytest.mark.parametrize("problem", AMPLIFYING, ids=repr)
def test_work_at_equal_error(problem, ours, theirs):
    """PI control takes more and better steps; per digit that it reaches it costs no more than 1.4 of SciPy's."""
    tolerances = np.logspace(-4, -7 if ours == "bosh3" else -10, 7).tolist()
    ratio = ratio_at_equal_error(
        [our_work(problem, ours, tol) for tol in tolerances],
        [scipy_work(problem, theirs, tol) for tol in tolerances],
    )
    assert ratio <= 1.4


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_against_scipy(problem):
    times = np.linspace(*problem.t_span, 9)
    want = solve_ivp(
        lambda t, y: problem.f(torch.as_tensor(t), torch.as_tensor(y)).numpy(), problem.t_span, problem.y0.numpy(),
        method="DOP853", rtol=1e-12, atol=1e-13, t_eval=times,
    ).y.T  # fmt: skip
    with torch.no_grad():
        got = neuralode.solve(
            problem.f, problem.t_span, problem.y0, t_eval=torch.from_numpy(times), rtol=1e-12, atol=1e-13
        ).y
    # Both codes err by some hundred times their tolerance on the oscillators.
    np.testing.assert_allclose(got.numpy(), want, rtol=3e-9, atol=3e-9)


def test_work_is_close_to_scipys():
    """The same method and tolerance: evaluations within 1.2 of SciPy's, with its error not larger than 3 times."""
    for problem in (BRUSSELATOR, VAN_DER_POL, LOTKA_VOLTERRA):
        theirs = solve_ivp(
            lambda t, y, f=problem.f: f(torch.as_tensor(t), torch.as_tensor(y)).numpy(),
            problem.t_span, problem.y0.numpy(), method="RK45", rtol=1e-6, atol=1e-6,
        )  # fmt: skip
        with torch.no_grad():
            ours = neuralode.solve(problem.f, problem.t_span, problem.y0, rtol=1e-6, atol=1e-6)
        assert ours.nfev <= 1.2 * theirs.nfev
        error = float((ours.y1 - problem.end).abs().max())
        assert error <= 3 * float(np.abs(theirs.y[:, -1] - problem.end.numpy()).max())


def test_lockstep_holds_every_sample_to_the_tolerance():
    """One hard sample among easy ones: a norm over the whole batch would let it err by the root of the batch size."""
    easy = torch.zeros(255, 2, dtype=torch.float64)
    y0 = torch.cat((VAN_DER_POL.y0[None], easy))
    with torch.no_grad():
        alone = neuralode.solve(VAN_DER_POL.f, VAN_DER_POL.t_span, VAN_DER_POL.y0, rtol=1e-6, atol=1e-6)
        together = neuralode.solve(
            VAN_DER_POL.f, VAN_DER_POL.t_span, y0, rtol=1e-6, atol=1e-6, batch="lockstep"
        )
    assert together.accepted == alone.accepted
    torch.testing.assert_close(together.y1[0], alone.y1, rtol=0, atol=1e-12)


def test_long_spans_do_not_lose_steps():
    """10,000 steps of 0.05 in float32: t is kept in float64, so the last one lands on t1."""
    count = []

    def f(t, y):
        count.append(float(t))
        return torch.zeros_like(y)

    sol = neuralode.solve(f, (0.0, 500.0), torch.ones(1), method="euler", step=0.05)
    assert sol.accepted == 10_000 and sol.t[-1] == 500.0
    assert count[-1] == pytest.approx(500.0 - 0.05, abs=1e-4)
