"""Step-size control."""

from .controller import CONTROLLERS, MEASURES, NORMS, Controller, Norm, error_ratio
from .initial_step import initial_step
from .root import root

__all__ = ["CONTROLLERS", "MEASURES", "NORMS", "Controller", "Norm", "error_ratio", "initial_step", "root"]
