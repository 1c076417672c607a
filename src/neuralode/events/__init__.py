"""Zeros of functions of the solution: found on the steps, differentiable."""

from .passes import Found, solve_with_events
from .watch import Event, as_events

__all__ = ["Event", "Found", "as_events", "solve_with_events"]
