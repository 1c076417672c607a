"""``backend="fused"``: the whole solve as generated C++, one SIMD lane for each sample.

``trace`` makes a graph of f, ``lower`` a program of it by the tables of ``elementwise`` and ``shapes``, ``emit`` and
``tableau_text`` C++ text, ``build`` a library; ``run`` calls it, ``reverse`` for gradients. ``cpp`` holds what is the
same for every f and method.
"""

from .again import again, learn
from .field import empty_cache
from .graph import UnsupportedError
from .options import Fused
from .solve import solve

__all__ = ["Fused", "UnsupportedError", "again", "empty_cache", "learn", "solve"]
