"""What a calibration found: trials, the one chosen, and where it is put to use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .blocks import adjusted, blocks_of


@dataclass(frozen=True)
class Setting:
    """One trial.

    Attributes:
        method, rtol: of every solve in it.
        loss, loss_error: the loss, and how far it is from the reference's.
        gradient_error: |g - g_reference| / |g_reference|; infinite where the solve failed.
        nfev, nfev_backward: evaluations of f, of all solves; of the slowest sample with batch="independent".
        failure: why it failed, or "".
    """

    method: str
    rtol: float
    loss: float
    loss_error: float
    gradient_error: float
    nfev: int
    nfev_backward: int
    failure: str = ""

    @property
    def work(self) -> int:
        """Evaluations forward and backward."""
        return self.nfev + self.nfev_backward


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate`` found. ``print`` it for the table.

    Attributes:
        chosen: the cheapest setting that meets the target, as do all tighter ones of its method; the most accurate
            where none does.
        met: whether it meets the target.
        target: relative gradient error that was asked for.
        noise: relative gradient noise of the batch; None where it was not needed, or cannot be had.
        reference: the tight setting that errors are measured against; its own ``gradient_error`` is that of the same
            method at a tenfold tolerance, a bound of what can be seen.
        settings: all trials, by method, from loose to tight.
        atol_share: atol / rtol, which is kept; None where blocks differ in it.
    """

    chosen: Setting
    met: bool
    target: float
    noise: float | None
    reference: Setting
    settings: tuple[Setting, ...]
    atol_share: float | None

    @property
    def options(self) -> dict[str, Any]:
        """Method, rtol and (where the blocks have one ratio of it to rtol) atol, for ``solve`` or a block."""
        atol = {} if self.atol_share is None else {"atol": self.atol_share * self.chosen.rtol}
        return {"method": self.chosen.method, "rtol": self.chosen.rtol, **atol}

    def apply(self, model: nn.Module) -> None:
        """Set method, rtol and atol of every block in ``model``; atol keeps its ratio to rtol.

        Raises:
            ValueError: there is no block in it.
        """
        for block in blocks_of(model):
            block.solver = adjusted(block.solver, self.chosen.method, self.chosen.rtol)

    def plot(self, path: Path | str) -> Path:
        """Draw gradient error against work as a PNG.

        Raises:
            ImportError: matplotlib is not installed.
        """
        try:
            from ..plot import calibration  # matplotlib is optional
        except ImportError as error:
            raise ImportError("plot() draws with matplotlib: pip install matplotlib") from error

        good = [s for s in self.settings if not s.failure]
        names = dict.fromkeys(s.method for s in good)
        curves: dict[str, tuple[list[int], list[float]]] = {}
        for name in names:
            own = [s for s in good if s.method == name]
            curves[name] = ([s.work for s in own], [s.gradient_error for s in own])
        title = f"{self.chosen.method}, rtol = {self.chosen.rtol:.2g}"
        return calibration(
            Path(path), curves, self.target, (self.chosen.work, self.chosen.gradient_error), title
        )

    def __str__(self) -> str:
        head = f"{'method':<10}{'rtol':>9}{'loss error':>12}{'gradient error':>16}{'nfev':>8}{'backward':>10}"
        lines = [head]
        for s in self.settings:
            mark = "  <- chosen" if s == self.chosen else "  " + s.failure if s.failure else ""
            lines.append(
                f"{s.method:<10}{s.rtol:>9.2g}{s.loss_error:>12.2g}{s.gradient_error:>16.2g}{s.nfev:>8}"
                f"{s.nfev_backward:>10}{mark}"
            )
        noise = "" if self.noise is None else f", the gradient's noise is {self.noise:.2g}"
        verdict = "" if self.met else "; no setting meets it"
        known = f"the reference is sure to {self.reference.gradient_error:.1g}"
        return "\n".join([*lines, f"target {self.target:.2g}{noise}; {known}{verdict}"])
