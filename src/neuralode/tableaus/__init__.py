"""Coefficients of methods, as data."""

from .explicit import EXPLICIT
from .tableau import Tableau

__all__ = ["EXPLICIT", "Tableau"]
