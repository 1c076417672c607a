"""Zeros of functions of the solution, found on the steps, and integrations in legs between discontinuities."""

from .chain import solve_in_legs
from .event import Event, as_events
from .found import Found

__all__ = ["Event", "Found", "as_events", "solve_in_legs"]
