"""What one step is, a family a file."""

from .method import Carry, Field, Method, Stages, Step, Verdict
from .runge_kutta import runge_kutta
from .stabilised import rkc2
from .symplectic import symplectic

__all__ = ["Carry", "Field", "Method", "Stages", "Step", "Verdict", "rkc2", "runge_kutta", "symplectic"]
