"""Trials of a model's methods and tolerances, and the choice among them."""

from .report import Calibration, Setting
from .search import search
from .trials import trials_of

__all__ = ["Calibration", "Setting", "search", "trials_of"]
