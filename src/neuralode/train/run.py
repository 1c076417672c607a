"""`fit`: one training run in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .progress import Watcher
from .task import Task

Loader = Iterable[Any]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder; None when nothing was written.
        steps: optimiser steps in all.
        seconds: wall-clock time, of earlier parts of a resumed run too.
        history: one row of numbers each `log_every` steps and each validation, oldest first.
        complete: False when it was stopped by `seconds`.
    """

    path: Path | None
    steps: int
    seconds: float
    history: list[dict[str, float]]
    complete: bool

    def last(self, name: str) -> float:
        """The newest value of a column; KeyError where there is none."""
        for row in reversed(self.history):
            if name in row:
                return row[name]
        raise KeyError(name)


def fit(
    task: Task,
    loaders: Loader | tuple[Loader, Loader],
    run: Path | str | None = None,
    *,
    epochs: int = 1,
    seed: int = 0,
    resume: bool = False,
    progress: bool | Watcher = False,
    log_every: int = 10,
    save_every: float = 30.0,
    seconds: float | None = None,
    config: Mapping[str, Any] | None = None,
    **trainer: Any,
) -> Run:
    """Train `task` and write what happened into the folder `run`."""
    raise NotImplementedError
