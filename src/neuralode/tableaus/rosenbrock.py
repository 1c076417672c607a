"""Rosenbrock methods. Hairer II = Hairer & Wanner, Solving ODEs II, 2nd ed. (1996), section IV.7."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from .tableau import Row, Terms, bernstein, root, row, terms


@dataclass(frozen=True)
class RosenbrockTableau:
    """A linearly implicit method in the form that needs no product with J (Hairer II, eq. IV.7.25):

        (I - h gamma J) u_i = h gamma f(t + c_i h, y + sum_j a_ij u_j) + gamma sum_j C_ij u_j + h^2 gamma d_i df/dt,
        y1 = y + sum_i m_i u_i,  error = sum_i error_i u_i,  y(t + theta h) = y + sum_i w_i(theta) u_i.

    Attributes:
        a, C: lower rows; row i has i entries.
        dense: the polynomials w_i, coefficients of theta, theta^2, ...
        dense_order: order of the dense output.
    """

    name: str
    order: int
    gamma: Fraction
    a: tuple[Row, ...]
    C: tuple[Row, ...]
    m: Row
    error: Row
    error_order: int
    c: Row
    d: Row
    dense: tuple[Row, ...]
    dense_order: int
    source: str

    def __post_init__(self) -> None:
        columns = (self.a, self.C, self.m, self.error, self.c, self.d, self.dense)
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"tableau {self.name}: all columns must have one entry per stage")
        if any(len(x) != i or len(y) != i for i, (x, y) in enumerate(zip(self.a, self.C, strict=True))):
            raise ValueError(f"tableau {self.name}: row i of a and of C must have i entries")

    @property
    def stages(self) -> int:
        return len(self.m)

    @cached_property
    def a_terms(self) -> tuple[Terms, ...]:
        return tuple(terms(numbers) for numbers in self.a)

    @cached_property
    def c_terms(self) -> tuple[Terms, ...]:
        """The rows of gamma C."""
        return tuple(terms(tuple(self.gamma * number for number in numbers)) for numbers in self.C)

    @cached_property
    def m_terms(self) -> Terms:
        return terms(self.m)

    @cached_property
    def error_terms(self) -> Terms:
        return terms(self.error)

    @cached_property
    def nodes(self) -> tuple[float, ...]:
        return tuple(float(node) for node in self.c)

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """gamma d: the weights of h^2 df/dt."""
        return tuple(float(self.gamma * number) for number in self.d)

    @cached_property
    def dense_bernstein(self) -> tuple[tuple[float, ...], ...]:
        return bernstein(self.dense)


def _stiffly_accurate(
    name: str,
    order: int,
    gamma: str,
    a: tuple[Row, ...],
    C: tuple[Row, ...],
    c: Row,
    d: Row,
    h: tuple[Row, ...],
    source: str,
) -> RosenbrockTableau:
    """A method of Hairer's RODAS family: each of the last stages refines y1 by its u alone, and the last is the error.

    ``a`` ends with the first row whose state is at t1; the rows behind it are made from it. ``h`` are the rows of the
    dense output theta y1 + (1 - theta) y + theta (1 - theta) (h_1 + theta h_2 + ...), u in place of h: eq. VI.4.28.
    """
    one, rows = Fraction(1), list(a)
    while len(rows) < len(C):
        rows.append((*rows[-1], one))
    m = (*rows[-1], one)
    dense = []
    for j, weight in enumerate(m):
        inner = [line[j] for line in h]
        dense.append(
            (weight + inner[0], *(x - y for x, y in zip([*inner[1:], Fraction(0)], inner, strict=True)))
        )
    error = (*(Fraction(0) for _ in rows[1:]), one)
    return RosenbrockTableau(
        name,
        order,
        Fraction(gamma),
        tuple(rows),
        C,
        m,
        error,
        order - 1,
        c,
        d,
        tuple(dense),
        order - 1,
        source,
    )


def _rosenbrock23() -> RosenbrockTableau:
    """From the classical coefficients: with Gamma = (gamma_ij), a = alpha / Gamma, C = 1 / gamma - 1 / Gamma.

    The third stage serves the error estimate alone. Dense output: eq. 5.2 of the paper.
    """
    g, e = 1 - root(2) / 2, 6 + root(2)
    gammas = ((g,), (-g, g), ((e - 2) * g, -e * g, g))
    alpha = (row(0, 0, 0), row("1/2", 0, 0), row(0, 1, 0))
    m, error = _over(row(0, 1, 0), gammas), _over(row("-1/6", "1/3", "-1/6"), gammas)
    linear, square = (1 / (1 - 2 * g), -2 * g / (1 - 2 * g)), 1 / (1 - 2 * g)
    dense = zip(
        _over((*linear, Fraction(0)), gammas), _over((-square, square, Fraction(0)), gammas), strict=True
    )
    return RosenbrockTableau(
        name="rosenbrock23",
        order=2,
        gamma=g,
        a=tuple(_over(numbers, gammas)[:i] for i, numbers in enumerate(alpha)),
        C=tuple(tuple(-x for x in _over(_unit(i), gammas)[:i]) for i in range(3)),
        m=m,
        error=error,
        error_order=2,
        c=row(0, "1/2", 1),
        d=tuple(sum(numbers, Fraction(0)) for numbers in gammas),
        dense=tuple(dense),
        dense_order=2,
        source="Shampine & Reichelt, SIAM J. Sci. Comput. 18 (1997) 1-22 (the code ode23s)",
    )


def _unit(i: int) -> Row:
    return tuple(Fraction(int(i == j)) for j in range(3))


def _over(numbers: Row, gammas: tuple[Row, ...]) -> Row:
    """The row x with x Gamma = numbers, by substitution from the last column."""
    found = [Fraction(0)] * len(numbers)
    for j in reversed(range(len(numbers))):
        rest = sum((found[i] * gammas[i][j] for i in range(j + 1, len(numbers))), Fraction(0))
        found[j] = (numbers[j] - rest) / gammas[j][j]
    return tuple(found)


RODAS4 = _stiffly_accurate(
    "rodas4",
    4,
    "0.25",
    (
        row(),
        row("1.544"),
        row("0.9466785280815826", "0.2557011698983284"),
        row("3.314825187068521", "2.896124015972201", "0.9986419139977817"),
        row("1.221224509226641", "6.019134481288629", "12.53708332932087", "-0.687886036105895"),
    ),
    (
        row(),
        row("-5.6688"),
        row("-2.430093356833875", "-0.2063599157091915"),
        row("-0.1073529058151375", "-9.594562251023355", "-20.47028614809616"),
        row("7.496443313967647", "-10.24680431464352", "-33.99990352819905", "11.7089089320616"),
        row(
            "8.083246795921522",
            "-7.981132988064893",
            "-31.52159432874371",
            "16.31930543123136",
            "-6.058818238834054",
        ),
    ),
    row(0, "0.386", "0.21", "0.63", 1, 1),
    row("0.25", "-0.1043", "0.1035", "-0.0362", 0, 0),
    (
        row(
            "10.12623508344586",
            "-7.487995877610167",
            "-34.80091861555747",
            "-7.992771707568823",
            "1.025137723295662",
            0,
        ),
        row(
            "-0.6762803392801253",
            "6.087714651680015",
            "16.43084320892478",
            "24.76722511418386",
            "-6.594389125716872",
            0,
        ),
    ),
    "Hairer II, section VI.4 (the code RODAS)",
)

RODAS5P = _stiffly_accurate(
    "rodas5p",
    5,
    "0.21193756319429014",
    (
        row(),
        row("3.0"),
        row("2.849394379747939", "0.45842242204463923"),
        row("-6.954028509809101", "2.489845061869568", "-10.358996098473584"),
        row("2.8029986275628964", "0.5072464736228206", "-0.3988312541770524", "-0.04721187230404641"),
        row(
            "-7.502846399306121",
            "2.561846144803919",
            "-11.627539656261098",
            "-0.18268767659942256",
            "0.030198172008377946",
        ),
    ),
    (
        row(),
        row("-14.155112264123755"),
        row("-17.97296035885952", "-2.859693295451294"),
        row("147.12150275711716", "-1.41221402718213", "71.68940251302358"),
        row("165.43517024871676", "-0.4592823456491126", "42.90938336958603", "-5.961986721573306"),
        row(
            "24.854864614690072",
            "-3.0009227002832186",
            "47.4931110020768",
            "5.5814197821558125",
            "-0.6610691825249471",
        ),
        row(
            "30.91273214028599",
            "-3.1208243349937974",
            "77.79954646070892",
            "34.28646028294783",
            "-19.097331116725623",
            "-28.087943162872662",
        ),
        row(
            "37.80277123390563",
            "-3.2571969029072276",
            "112.26918849496327",
            "66.9347231244047",
            "-40.06618937091002",
            "-54.66780262877968",
            "-9.48861652309627",
        ),
    ),
    row(0, "0.6358126895828704", "0.4095798393397535", "0.9769306725060716", "0.4288403609558664", 1, 1, 1),
    row(
        "0.21193756319429014",
        "-0.42387512638858027",
        "-0.3384627126235924",
        "1.8046452872882734",
        "2.325825639765069",
        0,
        0,
        0,
    ),
    (
        row(
            "25.948786856663858",
            "-2.5579724845846235",
            "10.433815404888879",
            "-2.3679251022685204",
            "0.524948541321073",
            "1.1241088310450404",
            "0.4272876194431874",
            "-0.17202221070155493",
        ),
        row(
            "-9.91568850695171",
            "-0.9689944594115154",
            "3.0438037242978453",
            "-24.495224566215796",
            "20.176138334709044",
            "15.98066361424651",
            "-6.789040303419874",
            "-6.710236069923372",
        ),
        row(
            "11.419903575922262",
            "2.8879645146136994",
            "72.92137995996029",
            "80.12511834622643",
            "-52.072871366152654",
            "-59.78993625266729",
            "-0.15582684282751913",
            "4.883087185713722",
        ),
    ),
    "Steinebach, BIT 63 (2023) 27",
)

ROSENBROCK = (_rosenbrock23(), RODAS4, RODAS5P)
