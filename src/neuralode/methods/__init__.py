"""What one step is, a family a file."""

from .adams import adams
from .auto import auto
from .bdf import bdf
from .collocation import collocation
from .diagonal import diagonal
from .imex import imex
from .implicit import corrected
from .linear import linearize
from .method import Carry, Field, Method, SplitField, Stages, Step, Verdict
from .newton import newton
from .rosenbrock import rosenbrock
from .runge_kutta import runge_kutta
from .stabilised import rkc2, rock4
from .symplectic import symplectic

__all__ = [
    "Carry",
    "Field",
    "Method",
    "SplitField",
    "Stages",
    "Step",
    "Verdict",
    "adams",
    "auto",
    "bdf",
    "collocation",
    "corrected",
    "diagonal",
    "imex",
    "linearize",
    "newton",
    "rkc2",
    "rock4",
    "rosenbrock",
    "runge_kutta",
    "symplectic",
]
