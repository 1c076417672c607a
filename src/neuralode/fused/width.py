"""Where the batched matrix products of the eager backend are faster than a lane for each sample: ``backend="auto"``.

Eager's CPU time over fused's, forward (and with the gradient), for the field 16-W-W-16 (tanh), float32, dopri5 at 1e-6,
one thread of an AMD EPYC Zen 4 with AVX-512 (``benchmarks/width.py``):

    W      one system    8 samples    256 samples
    256    1.5 (2.3)     4.0 (4.0)    3.1 (2.5)
    512    1.1           2.5          2.4
    1024   0.4           1.4          1.3

One system leaves all lanes but one idle, and loses from W = 512 on; a batch fills them, and was ahead wherever it was
measured: its limit is where the code for one lane was seen to fall to the speed of a matrix product, W = 2048. Larger
gradients than those in the table are not fused (``source.LARGEST``).
"""

from typing import TYPE_CHECKING

import torch
from torch import fx

from ..problem import Problem
from .graph import UnsupportedError
from .trace import name_of

if TYPE_CHECKING:
    from .field import Compiled

MATRIX = frozenset(("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"))
PRODUCT = {"addmm": 1, "baddbmm": 1, "addmv": 1}  # which operand is the left matrix; the first in others
FEW = 4  # samples up to which most lanes of a block are idle
# Multiply-adds from which eager wins, by (few samples, gradients on).
LIMITS = {(True, False): 300_000, (True, True): 150_000, (False, False): 4_000_000, (False, True): 150_000}


def multiply_adds(body: fx.GraphModule) -> int:
    """Multiply-adds in the matrix products of one evaluation of f for one sample."""
    total = 0
    for node in body.graph.nodes:
        name = name_of(node).split(".")[0]
        if node.op == "call_function" and name in MATRIX:
            left = node.args[PRODUCT.get(name, 0)]
            total += node.meta["val"].numel() * _shape(left)[-1]
    return total


def _shape(node: fx.Node) -> torch.Size:
    found: torch.Size = node.meta["shape"] if "shape" in node.meta else node.meta["val"].shape
    return found


def limit(problem: Problem) -> int:
    """Multiply-adds of f for one sample from which eager is faster."""
    few = (problem.batch_size or 1) <= FEW
    return LIMITS[few, torch.is_grad_enabled()]


def check_width(found: int, most: int) -> None:
    """Raise UnsupportedError for an f with more multiply-adds."""
    if found > most:
        raise UnsupportedError(
            f"eager is faster: f's matrix products have {found:,} multiply-adds for one sample, and from {most:,} on "
            "batched products win (backend='fused' fuses it all the same)"
        )


def report(found: "Compiled", most: int | None) -> dict[str, str]:
    """What a solution says of its backend; ``most``: the limit where there was a choice."""
    if most is None:
        return {"backend": "fused"}
    products = f"{found.products:,} multiply-adds for one sample, not more than {most:,}"
    why = f"f's matrix products have {products}: the rule by width"
    return {"backend": "fused", "why": why}
