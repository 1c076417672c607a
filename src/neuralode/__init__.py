"""neuralode: neural ordinary differential equations on PyTorch.

``solve`` integrates dy/dt = f(t, y) differentiably; ``neuralode.nn`` puts it in modules.
"""

from .calibrate import calibrate
from .calibration import Calibration
from .control import Controller, PIDController, PredictiveController
from .diagnose import diagnose
from .diagnosis import Diagnosis
from .errors import SolverError, SolverWarning
from .events import Event
from .fused import Fused
from .gradient import Backsolve, Checkpointed, Direct, Discrete, Interpolated, Reversible, Steady
from .registry import methods, register_method
from .solution import Solution, Status
from .solve import Solver, solve
from .stepper import Stepper, StepTaken

__version__ = "0.1.0"

__all__ = [
    "Backsolve",
    "Calibration",
    "Checkpointed",
    "Controller",
    "Diagnosis",
    "Direct",
    "Discrete",
    "Event",
    "Fused",
    "Interpolated",
    "PIDController",
    "PredictiveController",
    "Reversible",
    "Solution",
    "Solver",
    "SolverError",
    "SolverWarning",
    "Status",
    "Steady",
    "StepTaken",
    "Stepper",
    "calibrate",
    "diagnose",
    "methods",
    "register_method",
    "solve",
]
