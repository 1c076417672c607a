"""Coefficients of methods, as data."""

from .collocation import COLLOCATION, Collocation
from .explicit import EXPLICIT
from .tableau import Tableau

__all__ = ["COLLOCATION", "EXPLICIT", "Collocation", "Tableau"]
