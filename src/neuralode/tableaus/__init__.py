"""Coefficients of methods, as data."""

from .diagonal import DIAGONAL, DiagonalTableau
from .explicit import EXPLICIT
from .imex import IMEX, ImexTableau
from .rosenbrock import ROSENBROCK, RosenbrockTableau
from .tableau import Tableau

__all__ = [
    "DIAGONAL",
    "EXPLICIT",
    "IMEX",
    "ROSENBROCK",
    "DiagonalTableau",
    "ImexTableau",
    "RosenbrockTableau",
    "Tableau",
]
