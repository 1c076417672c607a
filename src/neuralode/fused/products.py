"""Products of a sample's vector with a small matrix, which the loops around them take in."""

import numpy as np

from .graph import Elementwise, Instruction, MatMul, View

SHORT = 4  # entries of a vector up to which a product belongs to the loop before or after it


def vector_and_matrix(each: Instruction) -> tuple[View, View] | None:
    """(x (K), w (K, N)) where an instruction is the product of one vector of the sample with a matrix of all."""
    if not isinstance(each, MatMul):
        return None
    a, b = each.operands
    if a.lanes and not b.lanes and a.shape[0] == 1:
        return a.with_index(a.index[0]), b
    if b.lanes and not a.lanes and b.shape[1] == 1:
        return b.with_index(b.index[:, 0]), a.with_index(a.index.T)
    return None


def unfolded(each: Instruction) -> Instruction:
    """A product with a short vector as what it is entry by entry."""
    parts = vector_and_matrix(each)
    if parts is None or len(parts[0].index) > SHORT:
        return each
    x, w = parts
    operands: list[View] = []
    for k, row in enumerate(w.index):
        operands += [x.with_index(np.full(len(row), x.index[k])), w.with_index(row)]
    text = "{0} * {1}"
    for k in range(1, len(w.index)):
        text = f"({text}) + {{{2 * k}}} * {{{2 * k + 1}}}"
    return Elementwise(each.out, text, tuple(operands))


def folds(each: Instruction, size: int) -> tuple[View, View] | None:
    """``vector_and_matrix`` where ``size`` entries give few, so that a loop may add them up as it goes."""
    parts = vector_and_matrix(each)
    if parts is None or each.out.size > SHORT or parts[0].shape != (size,):
        return None
    return parts
