"""Training with Lightning: tasks, run folders that can be resumed exactly, progress with NFE."""

from .batches import Batches, Draws, Replay
from .classify import Classifier
from .density import DensityTask
from .nfe import Evaluations, evaluations
from .progress import Bar, Progress, Watcher
from .recipe import Recipe
from .run import Run, fit
from .series import SeriesTask
from .task import Task

__all__ = [
    "Bar",
    "Batches",
    "Classifier",
    "DensityTask",
    "Draws",
    "Evaluations",
    "Progress",
    "Recipe",
    "Replay",
    "Run",
    "SeriesTask",
    "Task",
    "Watcher",
    "evaluations",
    "fit",
]
