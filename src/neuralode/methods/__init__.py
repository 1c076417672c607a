"""What one step is, a family a file."""

from .diagonal import diagonal
from .method import Carry, Field, Method, Stages, Step, Verdict
from .rosenbrock import rosenbrock
from .runge_kutta import runge_kutta
from .stabilised import rkc2, rock4
from .symplectic import symplectic

__all__ = [
    "Carry",
    "Field",
    "Method",
    "Stages",
    "Step",
    "Verdict",
    "diagonal",
    "rkc2",
    "rock4",
    "rosenbrock",
    "runge_kutta",
    "symplectic",
]
