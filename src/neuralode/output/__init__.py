"""What is kept of the steps: outputs, tapes for gradients, knots for dense output."""

from .batch_row import Attempt, BatchRow
from .batch_tape import BatchRecorder
from .dense import DenseOutput
from .marks import Marks, Sight
from .tape import Knots, Recorder, Row, Tape
from .thinning import Everything, Keeping, Nothing, Thinning

__all__ = [
    "Attempt",
    "BatchRecorder",
    "BatchRow",
    "DenseOutput",
    "Everything",
    "Keeping",
    "Knots",
    "Marks",
    "Nothing",
    "Recorder",
    "Row",
    "Sight",
    "Tape",
    "Thinning",
]
