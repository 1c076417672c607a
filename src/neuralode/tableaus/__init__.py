"""Coefficients of methods, as data."""

from .chebyshev import chebyshev, stages_for
from .collocation import COLLOCATION, Collocation
from .diagonal import DIAGONAL, DiagonalTableau
from .explicit import EXPLICIT
from .imex import IMEX, ImexTableau
from .rosenbrock import ROSENBROCK, RosenbrockTableau
from .symplectic import SPLITTINGS, Splitting
from .tableau import Tableau

__all__ = [
    "COLLOCATION",
    "DIAGONAL",
    "EXPLICIT",
    "IMEX",
    "ROSENBROCK",
    "SPLITTINGS",
    "Collocation",
    "DiagonalTableau",
    "ImexTableau",
    "RosenbrockTableau",
    "Splitting",
    "Tableau",
    "chebyshev",
    "stages_for",
]
