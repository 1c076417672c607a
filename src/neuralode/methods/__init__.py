"""What one step is, a family a file."""

from .adams import adams
from .method import Carry, Field, Method, Stages, Step, Verdict
from .runge_kutta import runge_kutta

__all__ = ["Carry", "Field", "Method", "Stages", "Step", "Verdict", "adams", "runge_kutta"]
