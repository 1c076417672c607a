"""The search over methods and tolerances, and the noise that says what is good enough."""

import math
from collections.abc import Sequence

import torch

from ..errors import SolverError
from ..registry import METHODS
from .report import Calibration, Setting
from .trials import Measured, Trials

TIGHTER = 1e-2  # the reference's tolerance, of the tightest in the ladder
SHARE = 0.1  # of the gradient's noise that its error may have
ALONE = 1e-3  # the relative error allowed where a noise cannot be had
PIECES = 8  # of the batch, whose gradients give the noise
PIECE_RTOL = 1e-4  # of their solves: a noise known to a tenth is enough
BISECTIONS = 2  # of a step of the ladder, in the logarithm of the tolerance


def search(
    trials: Trials, methods: Sequence[str], tolerances: Sequence[float], target: float | None
) -> Calibration:
    """The cheapest setting of a ladder, from loose to tight, that meets the target.

    Raises:
        SolverError: the reference failed.
        ValueError: the gradient is zero.
    """
    floor = 4.0 * trials.epsilon
    ladder = sorted({max(rtol, floor) for rtol in tolerances}, reverse=True)
    best = max(methods, key=lambda name: METHODS[name].order)
    tight = max(TIGHTER * ladder[-1], floor)
    truth = trials.measure(best, tight)
    size = float(truth.gradient.norm())
    if not (size > 0.0 and math.isfinite(size)):
        raise ValueError(f"the reference's gradient has norm {size}: the loss must depend on the parameters")
    noise = None
    if target is None:
        noise = noise_of(trials, best, max(PIECE_RTOL, floor), size)
        target = ALONE if noise is None else SHARE * noise
    table = [_Column(trials, name, truth).filled(ladder, target) for name in methods]
    enough = [setting for column in table for setting in column.enough(target)]
    every = tuple(setting for column in table for setting in column.settings)
    chosen = min(enough, key=lambda s: s.work) if enough else min(every, key=lambda s: s.gradient_error)
    check = trials.measure(best, 10.0 * tight)
    reference = _setting(best, tight, truth, check)
    return Calibration(chosen, bool(enough), target, noise, reference, every, trials.atol_share)


def noise_of(trials: Trials, method: str, rtol: float, size: float) -> float | None:
    """The standard error of the batch's gradient, relative to its size; None without two samples.

    From g_i, the gradients of k equal pieces: sqrt(sum_i |g_i - mean|^2 / (k (k - 1))).
    """
    count = min(PIECES, trials.samples)
    if count < 2:
        return None
    pieces = torch.arange(trials.samples).tensor_split(count)
    found = [trials.measure(method, rtol, rows, trials.seed + i).gradient for i, rows in enumerate(pieces)]
    gradients = torch.stack(found)
    spread = (gradients - gradients.mean(0)).square().sum()
    noise = math.sqrt(float(spread) / (count * (count - 1))) / size
    return noise if noise > 0.0 else None


class _Column:
    """The settings of one method, from loose to tight."""

    def __init__(self, trials: Trials, method: str, truth: Measured) -> None:
        self.trials, self.method, self.truth = trials, method, truth
        self.settings: list[Setting] = []

    def filled(self, ladder: Sequence[float], target: float) -> "_Column":
        """With the ladder's settings, and some between the loosest that is enough and the next."""
        self.settings = [self._try(rtol) for rtol in ladder]
        for _ in range(BISECTIONS):
            enough = len(self.enough(target))
            place = len(self.settings) - enough
            if enough and place:
                between = math.sqrt(self.settings[place - 1].rtol * self.settings[place].rtol)
                self.settings.insert(place, self._try(between))
        return self

    def enough(self, target: float) -> list[Setting]:
        """The settings that meet the target, as do all tighter ones."""
        count = 0
        for setting in reversed(self.settings):
            if not setting.gradient_error <= target:
                break
            count += 1
        return self.settings[len(self.settings) - count :]

    def _try(self, rtol: float) -> Setting:
        try:
            found = self.trials.measure(self.method, rtol)
        except SolverError as error:
            return Setting(self.method, rtol, math.nan, math.inf, math.inf, 0, 0, error.reason)
        return _setting(self.method, rtol, found, self.truth)


def _setting(method: str, rtol: float, found: Measured, truth: Measured) -> Setting:
    error = float((found.gradient - truth.gradient).norm() / truth.gradient.norm())
    finite = math.isfinite(error) and math.isfinite(found.loss)
    return Setting(
        method=method,
        rtol=rtol,
        loss=found.loss,
        loss_error=abs(found.loss - truth.loss),
        gradient_error=error if finite else math.inf,
        nfev=found.nfev,
        nfev_backward=found.nfev_backward,
        failure="" if finite else "the loss or its gradient is not finite",
    )
