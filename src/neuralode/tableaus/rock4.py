"""ROCK4: orthogonal chains followed by four stages that bring the step to order four.

Abdulle, Fourth order Chebyshev methods with recurrence relation, SIAM J. Sci. Comput. 23 (2002) 2041-2054.
"""

from functools import lru_cache

from .chain import Chain, Stabilised
from .rock4_numbers import DEGREES, FINISHES, RECURRENCES

COMPOSED = 4  # stages after the chain
REACH = 0.352  # of s^2, what the interval of stability holds; 0.353 is a hair too much for s = 67


@lru_cache(maxsize=len(DEGREES))
def orthogonal(stages: int) -> Chain:
    """The chain of m = s - 4 stages with its finish: a_21 ... a_43, b_1 ... b_4 and the error's e_1 ... e_5.

    With K_1 = F_m and K_i = f(t + node h, Y_m + h sum_j a_ij K_j): y1 = Y_m + h sum_i b_i K_i, and the difference from
    the embedded solution is h sum_i e_i K_i, K_5 = f(t + h, y1).
    """
    place = DEGREES.index(stages - COMPOSED)
    first, *pairs = RECURRENCES[place]
    rows, nodes = [(0.0, 0.0, first, 0.0)], [0.0, first]
    for mu, kappa in zip(pairs[::2], pairs[1::2], strict=True):
        rows.append((1 + kappa, -kappa, mu, 0.0))
        nodes.append((1 + kappa) * nodes[-1] - kappa * nodes[-2] + mu)
    numbers = FINISHES[place]
    a, b, embedded = numbers[:6], numbers[6:10], numbers[10:]
    error = [x - y for x, y in zip((*b, 0.0), embedded, strict=True)]
    end = nodes[-1]
    after = (end, end + a[0], end + a[1] + a[2], end + a[3] + a[4] + a[5], 1.0)
    return Chain(tuple(rows), tuple(nodes[1:-1]), after, (*a, *b, *error))


def _stages_for(reach: float) -> int:
    need = 1 + int(((3 + reach) / REACH) ** 0.5)
    return next((degree + COMPOSED for degree in DEGREES if degree + COMPOSED >= need), need)


ROCK4 = Stabilised(
    name="rock4",
    order=4,
    error_order=3,
    chain=orthogonal,
    stages_for=_stages_for,
    fewest=DEGREES[0] + COMPOSED,
    most=DEGREES[-1] + COMPOSED,
    source="Abdulle, SIAM J. Sci. Comput. 23 (2002) 2041-2054; 5 to 124 stages",
)
