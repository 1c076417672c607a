"""Costs at equal achieved error."""

import math

import numpy as np
import pytest

from problems import HEAT, VAN_DER_POL
from work import Work, evaluations_at, our_work, ratio_at_equal_error, scipy_work


def ladder(scale: float, order: float, errors: np.ndarray) -> list[Work]:
    return [Work(float(error), round(scale * error ** (-1 / order)), 0) for error in errors]


def test_a_known_curve_is_found_again():
    works = ladder(100.0, 4.0, np.logspace(-3, -9, 7))
    # 1e-2: nfev are rounded to whole numbers
    assert evaluations_at(1e-5, works) == pytest.approx(100 * 1e5**0.25, rel=1e-2)
    assert math.isnan(evaluations_at(1e-12, works))


def test_ratio_does_not_depend_on_where_the_ladders_stand():
    ours = ladder(150.0, 5.0, np.logspace(-4, -8, 5))
    theirs = ladder(100.0, 5.0, np.logspace(-2.7, -9.7, 8))
    assert ratio_at_equal_error(ours, theirs) == pytest.approx(1.5, rel=1e-2)
    assert ratio_at_equal_error(theirs, ours) == pytest.approx(1 / 1.5, rel=1e-2)


def test_ladders_that_do_not_meet_have_no_ratio():
    high, low = ladder(100.0, 5.0, np.logspace(-2, -4, 5)), ladder(100.0, 5.0, np.logspace(-5, -9, 5))
    assert math.isnan(ratio_at_equal_error(high, low))
    assert math.isnan(ratio_at_equal_error([Work(math.inf, 10, 0)], low))


def test_scipys_counts():
    work = scipy_work(HEAT, "Radau", 1e-4)
    assert work.error < 1e-4 and work.nfev > work.nlu > 0 and work.njev >= 1


def test_one_method_against_itself():
    """dopri5 is RK45: at equal error they cost alike, within what their step controls differ by."""
    tolerances = np.logspace(-3, -9, 7).tolist()
    ours = [our_work(VAN_DER_POL, "dopri5", tol) for tol in tolerances]
    theirs = [scipy_work(VAN_DER_POL, "RK45", tol) for tol in tolerances]
    assert ratio_at_equal_error(ours, theirs) == pytest.approx(1.0, abs=0.2)
