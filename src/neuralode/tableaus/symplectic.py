"""Splitting methods for pairs: dq/dt of (t, p) alone, dp/dt of (t, q) alone."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from .tableau import Row, row


@dataclass(frozen=True)
class Splitting:
    """Kicks and drifts in turn, a kick first (Hairer, Lubich, Wanner, Geometric Numerical Integration, eq. II.5.6):

        p <- p + kick_i h (dp/dt)(t_q, q),    q <- q + drift_i h (dq/dt)(t_p, p)

    Each half has a clock of its own, moved with it: t_q by the drifts and t_p by the kicks, which is the same splitting
    of the system made autonomous, and so of the same order.

    Attributes:
        kicks, drifts: weights that sum to one each; with one kick more than drifts, the last kick's slope is that of
            the next step's first ("first same as last").
        source: where the numbers come from.
    """

    name: str
    order: int
    kicks: Row
    drifts: Row
    source: str

    def __post_init__(self) -> None:
        if len(self.kicks) - len(self.drifts) not in (0, 1):
            raise ValueError(f"splitting {self.name}: kicks and drifts must alternate, beginning with a kick")
        for name, weights in (("kicks", self.kicks), ("drifts", self.drifts)):
            if abs(sum(weights, Fraction(-1))) > Fraction(1, 10**15):
                raise ValueError(f"splitting {self.name}: {name} must sum to 1")

    @property
    def fsal(self) -> bool:
        """Whether the step ends with a kick."""
        return len(self.kicks) > len(self.drifts)

    @property
    def symmetric(self) -> bool:
        """Whether a step of -h undoes a step of h."""
        return self.fsal and self.kicks == self.kicks[::-1] and self.drifts == self.drifts[::-1]

    @property
    def kick_nodes(self) -> tuple[float, ...]:
        """Where t_q stands at each kick, in units of h."""
        return tuple(map(float, accumulate(self.drifts, initial=Fraction(0))))[: len(self.kicks)]

    @property
    def drift_nodes(self) -> tuple[float, ...]:
        """Where t_p stands at each drift."""
        return tuple(map(float, accumulate(self.kicks)))[: len(self.drifts)]


def leapfrogs(name: str, order: int, sizes: Row, source: str) -> Splitting:
    """One leapfrog step after another, of the sizes given; neighbouring kicks join."""
    half = Fraction(1, 2)
    joined = ((a + b) * half for a, b in pairwise(sizes))
    return Splitting(name, order, (sizes[0] * half, *joined, sizes[-1] * half), sizes, source)


SEMI_IMPLICIT_EULER = Splitting(
    name="semi_implicit_euler",
    order=1,
    kicks=row(1),
    drifts=row(1),
    source="de Vogelaere 1956; Hairer, Lubich & Wanner, Geometric Numerical Integration (2006), eq. I.1.9",
)
LEAPFROG = leapfrogs(
    name="leapfrog",
    order=2,
    sizes=row(1),
    source="Stormer 1907, Verlet 1967 (velocity form); Hairer, Lubich & Wanner, Acta Numerica 12 (2003) 399-450",
)

# 1 / (2 - 2^(1/3)) twice, and what is left of one between them.
OUTER = Fraction("1.35120719195965763404768780897146")
YOSHIDA4 = leapfrogs(
    name="yoshida4",
    order=4,
    sizes=(OUTER, 1 - 2 * OUTER, OUTER),
    source="Yoshida, Phys. Lett. A 150 (1990) 262-268",
)

# That of McLachlan & Atela with four stages has order 4 for dq/dt linear in p alone; this one for any separable f.
ROOT = Fraction("4.35889894354067355223698198385961566")  # of 19
ENDS = ((14 - ROOT) / 108, (20 - 7 * ROOT) / 108)
KICKS = (*ENDS, Fraction(1, 2) - sum(ENDS, Fraction(0)))
MCLACHLAN4 = Splitting(
    name="mclachlan4",
    order=4,
    kicks=KICKS + KICKS[::-1],
    drifts=row("2/5", "-1/10", "2/5", "-1/10", "2/5"),
    source="McLachlan, SIAM J. Sci. Comput. 16 (1995) 151-168, type S, five stages",
)

SIDE = row(
    "0.39216144400731413927925056",
    "0.33259913678935943859974864",
    "-0.70624617255763935980996482",
    "0.08221359629355080023149045",
)
KAHAN_LI6 = leapfrogs(
    name="kahan_li6",
    order=6,
    sizes=(*SIDE, 1 - 2 * sum(SIDE, Fraction(0)), *reversed(SIDE)),
    source="Kahan & Li, Math. Comp. 66 (1997) 1089-1099, order 6, nine leapfrogs",
)

SPLITTINGS: tuple[Splitting, ...] = (SEMI_IMPLICIT_EULER, LEAPFROG, YOSHIDA4, MCLACHLAN4, KAHAN_LI6)
