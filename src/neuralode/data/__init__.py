"""Data to try things on: generated, shipped with scikit-learn, or read from the user's own files."""

from .densities import DENSITIES, checkerboard, pinwheel, two_circles, two_moons
from .digits import Digits, digits
from .errors import DataError
from .mnist import mnist
from .spirals import Observations, Spirals, observe, spirals

__all__ = [
    "DENSITIES",
    "DataError",
    "Digits",
    "Observations",
    "Spirals",
    "checkerboard",
    "digits",
    "mnist",
    "observe",
    "pinwheel",
    "spirals",
    "two_circles",
    "two_moons",
]
