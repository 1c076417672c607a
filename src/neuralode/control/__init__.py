"""Step-size control."""

from .choice import clip, select
from .controller import Controller
from .initial_step import initial_step
from .norms import NORMS, Norm
from .pid import PIDController
from .power import power
from .predictive import PredictiveController
from .root import root
from .step_control import StepControl
from .tolerance import Tolerance, rounding_level

CONTROLLERS: dict[str, StepControl] = {
    "i": Controller(alpha=1.0, beta=0.0),
    "pi": Controller(),
    "pid": PIDController(),
    "predictive": PredictiveController(),
    "predictive_pi": PredictiveController(alpha=0.7, beta=0.4),
}

__all__ = [
    "CONTROLLERS",
    "NORMS",
    "Controller",
    "Norm",
    "PIDController",
    "PredictiveController",
    "StepControl",
    "Tolerance",
    "clip",
    "initial_step",
    "power",
    "root",
    "rounding_level",
    "select",
]
