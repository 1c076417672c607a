"""How far along the negative real axis a method is stable."""

from ..methods import Method
from ..tableaus import Tableau

# Where no tableau gives it: the Adams predictor-corrector pairs of moderate order are stable up to about this.
ADAMS_INTERVAL = 1.0
# Of the stability interval: an explicit method that stability holds back works close to its end.
NEAR = 0.6
# For stiff problems, the best-known first.
STIFF = ("auto", "bdf", "radau5", "rodas5p", "kvaerno5", "trbdf2")


def stability_interval(method: Method) -> float | None:
    """How far along the negative real axis an explicit method is stable; None for other methods."""
    if method.tableau is not None:
        return real_interval(method.tableau)
    return ADAMS_INTERVAL if method.kind == "Adams" else None


def real_interval(tableau: Tableau) -> float:
    """The largest x with |R(-z)| <= 1 for all z up to x (R: Hairer & Wanner II, eq. IV.2.9)."""
    moments, stages = [], [1.0] * tableau.stages
    for _ in range(tableau.stages):
        moments.append(sum(weight * stages[i] for i, weight in tableau.weight_terms))
        stages = [sum(number * stages[i] for i, number in row) for row in tableau.stage_terms]
    x, step = 0.0, 0.01
    while x < 2.0 * tableau.stages**2:  # no explicit method of so many stages is stable further
        x += step
        value = 1.0 + sum(moment * (-x) ** (j + 1) for j, moment in enumerate(moments))
        if abs(value) > 1.0 + 1e-9:
            return x - step
    return x
