"""Stiff chemistry from the collections of Hairer and Wanner (Solving ODEs II, IV.10) and of Bari.

End values: Radau IIA of orders 13 and 9 in 80-bit arithmetic, which agree to the digits given.
"""

from typing import Any

import torch
from torch import Tensor

from .known import Known, by_components, vector


def robertson_field(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    slow, fast, back = 0.04 * a, 3e7 * b**2, 1e4 * b * c
    return torch.stack((back - slow, slow - back - fast, fast), -1)


def oregonator_field(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    da = 77.27 * (b + a * (1 - 8.375e-6 * a - b))
    return torch.stack((da, (c - (1 + a) * b) / 77.27, 0.161 * (a - c)), -1)


def hires(t: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> tuple[Any, ...]:
    bind = 280 * f * h
    return (
        -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
        1.71 * a - 8.75 * b,
        -10.03 * c + 0.43 * d + 0.035 * e,
        8.32 * b + 1.71 * c - 1.12 * d,
        -1.745 * e + 0.43 * f + 0.43 * g,
        -bind + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
        bind - 1.81 * g,
        -bind + 1.81 * g,
    )


def e5_field(t: Tensor, y: Tensor) -> Tensor:
    """Species 1, 3, 4. The law y2 = y3 + y4 is put in: as a fourth unknown y2 drifts from it by more than y4."""
    a, c, d = y.unbind(-1)
    made, joined, parted = 7.89e-10 * a, 1.1e7 * a * c, 1.13e3 * d
    return torch.stack((-made - joined, made - joined - 1.13e9 * (c + d) * c + parted, joined - parted), -1)


# Air pollution: reaction j goes at RATES[j] times the product of its one or two SPECIES; CHANGES holds, for each
# of the 20 species, the numbers of the reactions that make it, negative where they use it up. All count from 1.
RATES = vector(
    *(0.35, 26.6, 1.23e4, 8.6e-4, 8.2e-4, 1.5e4, 1.3e-4, 2.4e4, 1.65e4, 9e3, 0.022, 1.2e4, 1.88),
    *(1.63e4, 4.8e6, 3.5e-4, 0.0175, 1e8, 4.44e11, 1240.0, 2.1, 5.78, 0.0474, 1780.0, 3.12),
)
SPECIES = (
    (1,), (2, 4), (5, 2), (7,), (7,), (7, 6), (9,), (9, 6), (11, 2), (11, 1), (13,), (10, 2), (14,),
    (1, 6), (3,), (4,), (4,), (16,), (16,), (17, 6), (19,), (19,), (1, 4), (19, 1), (20,),
)  # fmt: skip
CHANGES = (
    (-1, -10, -14, -23, -24, 2, 3, 9, 11, 12, 22, 25), (-2, -3, -9, -12, 1, 21), (-15, 1, 17, 19, 22),
    (-2, -16, -17, -23, 15), (-3, 4, 4, 6, 7, 13, 20), (-6, -8, -14, -20, 3, 18, 18), (-4, -5, -6, 13),
    (4, 5, 6, 7), (-7, -8), (-12, 7, 9), (-9, -10, 8, 11), (9,), (-11, 10), (-13, 12), (14,), (-18, -19, 16),
    (-20,), (20,), (-21, -22, -24, 23, 25), (-25, 24),
)  # fmt: skip
FIRST = [pair[0] - 1 for pair in SPECIES]
SECOND = [pair[1] - 1 if len(pair) == 2 else len(CHANGES) for pair in SPECIES]


def stoichiometry() -> Tensor:
    table = torch.zeros(len(RATES), len(CHANGES), dtype=torch.float64)
    for species, reactions in enumerate(CHANGES):
        for number in reactions:
            table[abs(number) - 1, species] += 1 if number > 0 else -1
    return table


STOICHIOMETRY = stoichiometry()


def pollution_field(t: Tensor, y: Tensor) -> Tensor:
    with_one = torch.cat((y, torch.ones_like(y[..., :1])), -1)
    return (RATES.to(y) * y[..., FIRST] * with_one[..., SECOND]) @ STOICHIOMETRY.to(y)


def robertson(t1: float, *end: float) -> Known:
    return Known(
        f"Robertson to {t1:g}",
        robertson_field,
        (0.0, t1),
        vector(1.0, 0.0, 0.0),
        vector(*end),
        atol_ratio=1e-8,
    )


ROBERTSON_40 = robertson(40.0, 7.15827068719405e-1, 9.18553476455776e-6, 2.84163745745830e-1)
ROBERTSON_4E5 = robertson(4e5, 4.93827452097982e-3, 1.98499408795438e-8, 9.95061705629079e-1)
ROBERTSON = robertson(1e11, 2.08334014970129e-8, 8.33336077033478e-14, 9.99999979166515e-1)
OREGO = Known(
    "OREGO",
    oregonator_field,
    (0.0, 360.0),
    vector(1.0, 2.0, 3.0),
    vector(1.00081487031852, 1.22817852154989e3, 1.32055494284651e2),
    atol_ratio=1e-2,
)
HIRES = Known(
    "HIRES",
    by_components(hires),
    (0.0, 321.8122),
    vector(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057),
    vector(
        *(7.37131257332567e-4, 1.44248572631618e-4, 5.88872974096758e-5, 1.17565134328315e-3),
        *(2.38635619883133e-3, 6.23896825274280e-3, 2.84999839518577e-3, 2.85000160481423e-3),
    ),
    atol_ratio=1e-4,
)
POLLUTION = Known(
    "Pollution",
    pollution_field,
    (0.0, 60.0),
    vector(0, 0.2, 0, 0.04, 0, 0, 0.1, 0.3, 0.01, 0, 0, 0, 0, 0, 0, 0, 0.007, 0, 0, 0),
    vector(
        *(5.64625548002277e-2, 1.34248413042234e-1, 4.13973433109943e-9, 5.52314020748436e-3),
        *(2.01897726230220e-7, 1.46454186349397e-7, 7.78424911899796e-2, 3.24507535339602e-1),
        *(7.49401338388041e-3, 1.62229315730156e-8, 1.13586383325707e-8, 2.23050597572136e-3),
        *(2.08716288279863e-4, 1.39692101684016e-5, 8.96488485689829e-3, 4.35284636933010e-18),
        *(6.89921969626341e-3, 1.00780303736595e-4, 1.77214651396998e-6, 5.68294329231639e-5),
    ),
    atol_ratio=1e-8,
)
E5 = Known(
    "E5",
    e5_field,
    (0.0, 1e13),
    vector(1.76e-3, 0.0, 0.0),
    vector(0.0, 8.86123352129108e-23, 0.0),
    atol_ratio=1e-22,
)
