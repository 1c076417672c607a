"""Coefficients of methods, as data."""

from .chain import STANDING, Chain, Stabilised
from .chebyshev import RKC2
from .diagonal import DIAGONAL, DiagonalTableau
from .explicit import EXPLICIT
from .rock4 import ROCK4
from .rosenbrock import ROSENBROCK, RosenbrockTableau
from .symplectic import SPLITTINGS, Splitting
from .tableau import Tableau

__all__ = [
    "DIAGONAL",
    "EXPLICIT",
    "RKC2",
    "ROCK4",
    "ROSENBROCK",
    "SPLITTINGS",
    "STANDING",
    "Chain",
    "DiagonalTableau",
    "RosenbrockTableau",
    "Splitting",
    "Stabilised",
    "Tableau",
]
