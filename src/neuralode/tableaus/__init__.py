"""Coefficients of methods, as data."""

from .explicit import EXPLICIT
from .symplectic import SPLITTINGS, Splitting
from .tableau import Tableau

__all__ = ["EXPLICIT", "SPLITTINGS", "Splitting", "Tableau"]
