"""The folder of a run: what lies in it, and whether it may be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch

from .. import __version__
from ..whole import write_json

CHECKPOINT = "checkpoint.safetensors"
CONFIG = "config.json"
METRICS = "metrics.csv"
WEIGHTS = "model.safetensors"


def prepare(folder: Path, settings: Mapping[str, Any], resume: bool) -> Path | None:
    """Make `folder` ready for a run with `settings`; the checkpoint to go on from, or None for a new run.

    Raises:
        FileExistsError: there is a run in it and `resume` is False.
        ValueError: there is one with other settings.
    """
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        if not resume:
            raise FileExistsError(
                f"{folder} holds a run already; resume it (resume=True, --resume) or name another folder"
            )
        _same(read_config(folder), settings, folder)
        return checkpoint
    write_json(folder / CONFIG, {**settings, "versions": _versions()})
    return None


def read_config(folder: Path | str) -> dict[str, Any]:
    """The settings a run was made with.

    Raises:
        FileNotFoundError: no config.json in `folder`.
    """
    content: dict[str, Any] = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    return content


def _same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    plain = json.loads(json.dumps(now))
    changed = [
        f"{name} was {before.get(name)!r}, is {value!r}"
        for name, value in plain.items()
        if before.get(name) != value
    ]
    if changed:
        raise ValueError(f"{folder} holds a run with other settings: {'; '.join(changed)}")


def _versions() -> dict[str, str]:
    return {"neuralode": __version__, "torch": torch.__version__, "lightning": lightning.__version__}
