"""What one step is, a family a file."""

from .bdf import bdf
from .diagonal import diagonal
from .method import Carry, Field, Method, Stages, Step, Verdict
from .rosenbrock import rosenbrock
from .runge_kutta import runge_kutta

__all__ = [
    "Carry",
    "Field",
    "Method",
    "Stages",
    "Step",
    "Verdict",
    "bdf",
    "diagonal",
    "rosenbrock",
    "runge_kutta",
]
