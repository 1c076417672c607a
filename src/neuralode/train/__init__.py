"""Training with Lightning: tasks, run folders that can be resumed exactly, progress with NFE."""

from .batches import Batches, Draws, Replay
from .checkpoint import CheckpointError, SafeCheckpoints, load_weights, save_weights
from .classify import Classifier
from .density import DensityTask
from .folder import read_config
from .nfe import Evaluations, evaluations
from .progress import Bar, Progress, Watcher
from .recalibrate import Recalibrate
from .recipe import Recipe
from .run import Run, fit
from .series import SeriesTask
from .task import Task

__all__ = [
    "Bar",
    "Batches",
    "CheckpointError",
    "Classifier",
    "DensityTask",
    "Draws",
    "Evaluations",
    "Progress",
    "Recalibrate",
    "Recipe",
    "Replay",
    "Run",
    "SafeCheckpoints",
    "SeriesTask",
    "Task",
    "Watcher",
    "evaluations",
    "fit",
    "load_weights",
    "read_config",
    "save_weights",
]
