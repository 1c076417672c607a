"""How much work an evaluation of f is."""

from .graph import Elementwise, MatMul, Program, Reduce

CALL = 20  # vector operations of a function as tanh


def operations(program: Program) -> int:
    """Roughly how many vector operations an evaluation of f takes."""
    total = 0
    for each in program.needed():
        total += each.out.size
        if isinstance(each, MatMul):
            total += each.operands[0].index.size * each.operands[1].shape[1]
        elif isinstance(each, Reduce):
            total += each.operands[0].index.size
    return total


def effort(program: Program) -> int:
    """Roughly how many vector operations an evaluation of f takes where a function as tanh counts as many."""
    calls = (each for each in program.needed() if isinstance(each, Elementwise) and "(" in each.text)
    return operations(program) + sum((CALL - 1) * each.out.size for each in calls)
