"""Coefficients of methods, as data."""

from .chain import STANDING, Chain, Stabilised
from .chebyshev import RKC2
from .collocation import COLLOCATION, Collocation
from .diagonal import DIAGONAL, DiagonalTableau
from .explicit import EXPLICIT
from .imex import IMEX, ImexTableau
from .rock4 import ROCK4
from .rosenbrock import ROSENBROCK, RosenbrockTableau
from .symplectic import SPLITTINGS, Splitting
from .tableau import Tableau

__all__ = [
    "COLLOCATION",
    "DIAGONAL",
    "EXPLICIT",
    "IMEX",
    "RKC2",
    "ROCK4",
    "ROSENBROCK",
    "SPLITTINGS",
    "STANDING",
    "Chain",
    "Collocation",
    "DiagonalTableau",
    "ImexTableau",
    "RosenbrockTableau",
    "Splitting",
    "Stabilised",
    "Tableau",
]
