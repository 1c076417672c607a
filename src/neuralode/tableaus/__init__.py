"""Coefficients of methods, as data."""

from .chebyshev import chebyshev, stages_for
from .explicit import EXPLICIT
from .symplectic import SPLITTINGS, Splitting
from .tableau import Tableau

__all__ = ["EXPLICIT", "SPLITTINGS", "Splitting", "Tableau", "chebyshev", "stages_for"]
