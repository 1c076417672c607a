"""neuralode: neural ordinary differential equations on PyTorch.

``solve`` integrates dy/dt = f(t, y) differentiably; ``neuralode.nn`` puts it in modules.
"""

from .control import Controller, PIDController, PredictiveController
from .errors import SolverError, SolverWarning
from .events import Event
from .fused import Fused
from .gradient import Backsolve, Checkpointed, Direct, Discrete, Reversible
from .registry import methods, register_method
from .solution import Solution, Status
from .solve import Solver, solve
from .stepper import Stepper, StepTaken

__version__ = "0.1.0"

__all__ = [
    "Backsolve",
    "Checkpointed",
    "Controller",
    "Direct",
    "Discrete",
    "Event",
    "Fused",
    "PIDController",
    "PredictiveController",
    "Reversible",
    "Solution",
    "Solver",
    "SolverError",
    "SolverWarning",
    "Status",
    "StepTaken",
    "Stepper",
    "methods",
    "register_method",
    "solve",
]
