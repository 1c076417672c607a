"""The loops around a step, by batch mode: each ``loop(problem, tape=None) -> Run``."""

from collections.abc import Callable

from . import device_loop, host_loop
from .run import Run, Span, where_reached

LOOPS: dict[str | None, Callable[..., Run]] = {
    None: host_loop.integrate,
    "lockstep": host_loop.integrate,
    "independent": device_loop.integrate,
}

__all__ = ["LOOPS", "Run", "Span", "where_reached"]
