"""Explicit methods, those of low order here. Hairer I = Hairer, Norsett, Wanner, Solving ODEs I, 2nd ed. (1993)."""

from .dop853 import DOP853
from .ees import EES25, EES27
from .pairs5 import CASH_KARP, FEHLBERG5
from .tableau import Tableau, row
from .tsit5 import TSIT5
from .vern6 import VERN6
from .vern7 import VERN7
from .vern8 import VERN8
from .vern9 import VERN9

EULER = Tableau(
    name="euler",
    order=1,
    a=(row(),),
    b=row(1),
    c=row(0),
    dense=(row(1),),
    dense_order=1,
    source="Euler 1768; Hairer I, section I.7",
)

# For two stages, y(theta) = y + theta h k1 + theta^2 (y1 - y - h k1) is the one quadratic of order two.
MIDPOINT = Tableau(
    name="midpoint",
    order=2,
    a=(row(), row("1/2")),
    b=row(0, 1),
    c=row(0, "1/2"),
    dense=(row(1, -1), row(0, 1)),
    dense_order=2,
    source="Runge 1895; Hairer I, eq. II.1.4",
)
HEUN = Tableau(
    name="heun",
    order=2,
    a=(row(), row(1)),
    b=row("1/2", "1/2"),
    c=row(0, 1),
    dense=(row(1, "-1/2"), row(0, "1/2")),
    dense_order=2,
    source="Heun 1900; Hairer I, section II.1",
)
RALSTON = Tableau(
    name="ralston",
    order=2,
    a=(row(), row("2/3")),
    b=row("1/4", "3/4"),
    c=row(0, "2/3"),
    dense=(row(1, "-3/4"), row(0, "3/4")),
    dense_order=2,
    source="Ralston, Math. Comp. 16 (1962) 431-437",
)

# The third-order continuous extension that needs no further stage: Hairer I, section II.6, exercise 1.
RK4 = Tableau(
    name="rk4",
    order=4,
    a=(row(), row("1/2"), row(0, "1/2"), row(0, 0, 1)),
    b=row("1/6", "1/3", "1/3", "1/6"),
    c=row(0, "1/2", "1/2", 1),
    dense=(row(1, "-3/2", "2/3"), row(0, 1, "-2/3"), row(0, 1, "-2/3"), row(0, "-1/2", "2/3")),
    dense_order=3,
    source="Kutta 1901; Hairer I, table II.1.2",
)

RK38 = Tableau(
    name="rk38",
    order=4,
    a=(row(), row("1/3"), row("-1/3", 1), row(1, -1, 1)),
    b=row("1/8", "3/8", "3/8", "1/8"),
    c=row(0, "1/3", "2/3", 1),
    # the one continuous extension of order three that these four stages have
    dense=(row(1, "-15/8", 1), row(0, "15/8", "-3/2"), row(0, "3/8", 0), row(0, "-3/8", "1/2")),
    dense_order=3,
    source="Kutta 1901; Hairer I, table II.1.2 (the 3/8 rule)",
)

# Strong stability preserving up to Euler's step. Dense output: the cubic Hermite polynomial, with f at y1.
SSPRK3 = Tableau(
    name="ssprk3",
    order=3,
    a=(row(), row(1), row("1/4", "1/4")),
    b=row("1/6", "1/6", "2/3"),
    c=row(0, 1, "1/2"),
    extra_a=(row("1/6", "1/6", "2/3"),),
    extra_c=row(1),
    dense=(row(1, "-3/2", "2/3"), row(0, "1/2", "-1/3"), row(0, 2, "-4/3"), row(0, -1, 1)),
    dense_order=3,
    source="Shu & Osher, J. Comput. Phys. 77 (1988) 439-471, eq. 2.18",
)

HEUN_EULER = Tableau(
    name="heun_euler",
    order=2,
    a=(row(), row(1)),
    b=row("1/2", "1/2"),
    c=row(0, 1),
    error=row("-1/2", "1/2"),
    error_order=1,
    dense=(row(1, "-1/2"), row(0, "1/2")),
    dense_order=2,
    source="Heun 1900 with Euler 1768 embedded; Hairer I, section II.4",
)

# The last stage is at Euler's two half steps, not at y1, for y1 here is the solution of order two.
FEHLBERG2 = Tableau(
    name="fehlberg2",
    order=2,
    a=(row(), row("1/2"), row("1/256", "255/256")),
    b=row("1/512", "255/256", "1/512"),
    c=row(0, "1/2", 1),
    error=row("-1/512", 0, "1/512"),
    error_order=1,
    dense=(row(1, "-511/512"), row(0, "255/256"), row(0, "1/512")),
    dense_order=2,
    source="Fehlberg, NASA TR R-315 (1969), RK1(2)",
)

# Dense output: the cubic Hermite polynomial through both ends and their slopes.
BOSH3 = Tableau(
    name="bosh3",
    order=3,
    a=(row(), row("1/2"), row(0, "3/4"), row("2/9", "1/3", "4/9")),
    b=row("2/9", "1/3", "4/9", 0),
    c=row(0, "1/2", "3/4", 1),
    error=row("-5/72", "1/12", "1/9", "-1/8"),
    error_order=2,
    dense=(row(1, "-4/3", "5/9"), row(0, 1, "-2/3"), row(0, "4/3", "-8/9"), row(0, -1, 1)),
    dense_order=3,
    source="Bogacki & Shampine, Appl. Math. Lett. 2 (1989) 321-325",
)

DOPRI5 = Tableau(
    name="dopri5",
    order=5,
    a=(
        row(),
        row("1/5"),
        row("3/40", "9/40"),
        row("44/45", "-56/15", "32/9"),
        row("19372/6561", "-25360/2187", "64448/6561", "-212/729"),
        row("9017/3168", "-355/33", "46732/5247", "49/176", "-5103/18656"),
        row("35/384", 0, "500/1113", "125/192", "-2187/6784", "11/84"),
    ),
    b=row("35/384", 0, "500/1113", "125/192", "-2187/6784", "11/84", 0),
    c=row(0, "1/5", "3/10", "4/5", "8/9", 1, 1),
    error=row("71/57600", 0, "-71/16695", "71/1920", "-17253/339200", "22/525", "-1/40"),
    error_order=4,
    dense=(
        row(1, "-8048581381/2820520608", "8663915743/2820520608", "-12715105075/11282082432"),
        row(0, 0, 0, 0),
        row(0, "131558114200/32700410799", "-68118460800/10900136933", "87487479700/32700410799"),
        row(0, "-1754552775/470086768", "14199869525/1410260304", "-10690763975/1880347072"),
        row(0, "127303824393/49829197408", "-318862633887/49829197408", "701980252875/199316789632"),
        row(0, "-282668133/205662961", "2019193451/616988883", "-1453857185/822651844"),
        row(0, "40617522/29380423", "-110615467/29380423", "69997945/29380423"),
    ),
    dense_order=4,
    source="Dormand & Prince, J. Comp. Appl. Math. 6 (1980) 19-26; dense: Shampine, Math. Comp. 46 (1986) 135-150",
)

EXPLICIT = (
    EULER,
    MIDPOINT,
    HEUN,
    RALSTON,
    RK4,
    RK38,
    SSPRK3,
    HEUN_EULER,
    FEHLBERG2,
    EES25,
    EES27,
    BOSH3,
    CASH_KARP,
    FEHLBERG5,
    DOPRI5,
    TSIT5,
    VERN6,
    VERN7,
    VERN8,
    VERN9,
    DOP853,
)
