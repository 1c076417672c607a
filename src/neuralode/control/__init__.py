"""Step-size control."""

from .controller import CONTROLLERS, NORMS, Controller, Norm, clip, select
from .initial_step import initial_step
from .root import root
from .tolerance import Tolerance, rounding_level

__all__ = [
    "CONTROLLERS",
    "NORMS",
    "Controller",
    "Norm",
    "Tolerance",
    "clip",
    "initial_step",
    "root",
    "rounding_level",
    "select",
]
