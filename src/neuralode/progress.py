"""How far a long integration has come: a line on stderr, or a call of the user's own."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

EVERY = 0.25  # seconds between two reports
WIDTH = 30  # of the bar, in characters
MILLION = 1_000_000

Report = Callable[[float, int, int], None]


class Bar:
    """Writes one line over and over: a bar, the share of t_span, the steps and the evaluations of f."""

    def __init__(self) -> None:
        self.start, self.written = time.monotonic(), 0

    def __call__(self, fraction: float, steps: int, nfev: int) -> None:
        done = int(WIDTH * fraction)
        line = (
            f"[{'#' * done}{'.' * (WIDTH - done)}] {100 * fraction:5.1f} %  {steps} steps  {nfev} evaluations  "
            f"{time.monotonic() - self.start:.0f} s"
        )
        sys.stderr.write("\r" + line.ljust(self.written))
        sys.stderr.flush()
        self.written = len(line)

    def end(self) -> None:
        """Leave the line as it is."""
        if self.written:
            sys.stderr.write("\n")


class Progress:
    """Passes on where an integration is, a few times a second, and where it ended.

    Attributes:
        t0, t1: the ends of the whole integration, floats or (B,).
    """

    def __init__(self, report: Report, t0: Any, t1: Any) -> None:
        self.report, self.t0, self.t1 = report, t0, t1
        self.told, self.latest = time.monotonic(), (0.0, 0, 0)

    def at(self, t: float, steps: int, nfev: int) -> None:
        """A state that steps as one is at t."""
        self.tell((t - self.t0) / (self.t1 - self.t0) if self.t1 != self.t0 else 1.0, steps, nfev)

    def millionths(self, t: Tensor, t1: Tensor, running: Tensor) -> Tensor:
        """The share of all samples' spans that is covered, a whole number; some are at t on their way to t1."""
        left = torch.where(running, (t1 - t).abs(), 0.0).sum()
        total = (self.t1 - self.t0).abs().sum()
        return (MILLION * (1.0 - left / total).nan_to_num(1.0)).long()

    def tell(self, fraction: float, steps: int, nfev: int) -> None:
        """Report, unless the last report was just now."""
        self.latest = (fraction, steps, nfev)
        now = time.monotonic()
        if now - self.told >= EVERY:
            self.told = now
            self.report(*self.latest)


@contextmanager
def reporting(option: bool | Report, t0: Any, t1: Any) -> Iterator[Progress | None]:
    """What the loops tell of an integration from t0 to t1; None where ``option`` is False."""
    if option is False:
        yield None
        return
    bar = Bar() if option is True else None
    progress = Progress(bar or option, t0, t1)  # type: ignore[arg-type]
    try:
        yield progress
    finally:
        progress.report(*progress.latest)
        if bar is not None:
            bar.end()
