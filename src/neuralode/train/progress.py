"""What a run tells while it goes on, and the bar that shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Display


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        title: what is being trained.
        step, steps: optimiser steps done, and of the whole run.
        epoch, epochs: the epoch under way, from 1, and all of them.
        seconds: wall-clock time of the run, of earlier parts of a resumed run too.
        values: newest "loss", the task's metric, "nfe_forward", "nfe_backward", and "val_..." where known.
    """

    title: str
    step: int
    steps: int
    epoch: int
    epochs: int
    seconds: float
    values: Mapping[str, float]

    def text(self) -> str:
        """The values in one line: loss, metrics, NFE."""
        shown = [f"{name} {value:.4g}" for name, value in self.values.items() if not name.startswith("nfe")]
        forward, backward = self.values.get("nfe_forward", 0), self.values.get("nfe_backward", 0)
        return "  ".join([*shown, f"NFE {forward:.0f}+{backward:.0f}"])


Watcher = Callable[[Progress], None]


class Bar:
    """A `Watcher` that draws one line in the terminal; off a terminal it prints about ten."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self.tenth = 0
        self.display = Display(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            refresh_per_second=4,
            disable=not self.console.is_terminal,
        )
        self.line: TaskID | None = None

    def __enter__(self) -> Bar:
        self.display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.display.stop()

    def __call__(self, progress: Progress) -> None:
        if self.line is None:
            self.line = self.display.add_task(progress.title, total=progress.steps, text="")
        self.display.update(
            self.line,
            completed=progress.step,
            description=f"{progress.title} {progress.epoch}/{progress.epochs}",
            text=progress.text(),
        )
        tenth = 10 * progress.step // progress.steps
        if not self.console.is_terminal and tenth > self.tenth:
            self.tenth = tenth
            share = f"{100 * progress.step // progress.steps:3d} %"
            line = f"{progress.title} {share}  {progress.text()}  {progress.seconds:.0f} s"
            self.console.print(line, soft_wrap=True, highlight=False)
