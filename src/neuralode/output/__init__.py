"""What is kept of the steps: outputs, tapes for gradients, knots for dense output."""

from .batch_row import Attempt
from .batch_tape import BatchRecorder
from .dense import DenseOutput
from .marks import Marks, Sight
from .tape import Knots, Recorder, Tape

__all__ = ["Attempt", "BatchRecorder", "DenseOutput", "Knots", "Marks", "Recorder", "Sight", "Tape"]
