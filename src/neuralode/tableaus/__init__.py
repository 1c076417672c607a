"""Coefficients of methods, as data."""

from .diagonal import DIAGONAL, DiagonalTableau
from .explicit import EXPLICIT
from .rosenbrock import ROSENBROCK, RosenbrockTableau
from .tableau import Tableau

__all__ = ["DIAGONAL", "EXPLICIT", "ROSENBROCK", "DiagonalTableau", "RosenbrockTableau", "Tableau"]
