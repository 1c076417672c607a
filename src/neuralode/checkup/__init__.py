"""A walk along a path, and the facts of ``diagnosis`` at its places."""

from .facts import Facts
from .walk import walked

__all__ = ["Facts", "walked"]
