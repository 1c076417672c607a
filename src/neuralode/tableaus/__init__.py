"""Coefficients of methods, as data."""

from .diagonal import DIAGONAL, DiagonalTableau
from .explicit import EXPLICIT
from .tableau import Tableau

__all__ = ["DIAGONAL", "EXPLICIT", "DiagonalTableau", "Tableau"]
