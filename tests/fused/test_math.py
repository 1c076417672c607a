"""The vector functions of the generated code against wider arithmetic, in units in the last place."""

import ctypes
import math

import numpy as np
import pytest

from neuralode.fused.build import library, register_width
from neuralode.fused.source import Source, header

NAMES = {
    "exponential": np.exp,
    "exponential_minus_one": np.expm1,
    "logarithm": np.log,
    "logarithm_plus_one": np.log1p,
    "hyperbolic_tangent": np.tanh,
    "logistic": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "root": np.sqrt,
    "sine": np.sin,
    "cosine": np.cos,
    "error_function": lambda x: np.vectorize(math.erf)(x).astype(x.dtype),
}
QUICK = {"quick_exponential": np.exp, "quick_logarithm": np.log}  # for step sizes
WIDER = {"float": np.float64, "double": np.longdouble}
REAL = {"float": np.float32, "double": np.float64}
HARDEST = 2.0  # units in the last place
SPECIAL = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.0,
    0.5,
    -0.5,
    88.7,
    89.5,
    -104.5,
    709.7,
    710.5,
    -745.5,
    1e-45,
    1e-320,
]


@pytest.fixture(scope="module", params=["float", "double"])
def functions(request):
    loops = "\n".join(
        f'extern "C" void run_{name}(T* x, long n) {{ for (long i = 0; i < n; i += L) '
        f"{{ V v; memcpy(&v, x + i, sizeof v); v = {name}(v); memcpy(x + i, &v, sizeof v); }} }}"
        for name in (*NAMES, *QUICK)
    )
    head = f"#define REAL {request.param}\n#define BYTES {register_width()}\n"
    text = head + header("lanes.hpp") + header("math.hpp") + header("circular.hpp") + loops
    return request.param, library(Source(text))


def points(name: str, kind: str, count: int) -> np.ndarray:
    """Random arguments where the function is not constant, near 0, 1 and multiples of pi/2, tiny and special ones."""
    random = np.random.default_rng(0)
    real = REAL[kind]
    widest = 88.0 if kind == "float" else 709.0
    parts = [
        random.uniform(-widest, widest, count),
        random.uniform(-2, 2, count),
        random.choice([-1, 1], count) * np.exp(random.uniform(-80, 80, count)),
        1 + random.uniform(-1e-2, 1e-2, count),
        random.integers(-640_000, 640_000, count) * (np.pi / 2),
    ]
    x = np.concatenate(parts).astype(real)
    if name in ("logarithm", "root"):
        x = np.abs(x)
    if name == "logarithm_plus_one":
        x = np.where(x < -1, -x, x)
    return np.concatenate([x, np.array(SPECIAL).astype(real), np.zeros(256, real)])[: len(x) // 64 * 64 + 64]


def check(functions, name: str, count: int) -> None:
    kind, built = functions
    x = points(name, kind, count)
    got = np.ascontiguousarray(x.copy())
    getattr(built, f"run_{name}")(got.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(len(got)))
    with np.errstate(all="ignore"):
        want = NAMES[name](x.astype(WIDER[kind]))
        rounded = want.astype(REAL[kind])
        finite = np.isfinite(rounded) & np.isfinite(want)
        np.testing.assert_array_equal(got[~finite], rounded[~finite])
        unit = np.maximum(np.spacing(np.abs(rounded)), np.finfo(REAL[kind]).smallest_subnormal)
        error = np.abs(got.astype(WIDER[kind]) - want)[finite] / unit[finite]
    worst = int(np.argmax(error))
    assert error[worst] <= HARDEST, (name, x[finite][worst], got[finite][worst], float(error[worst]))


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_within_two_units_in_the_last_place(functions, name):
    check(functions, name, 20_000)


@pytest.mark.parametrize("name", QUICK)
def test_functions_for_step_sizes(functions, name):
    kind, built = functions
    random = np.random.default_rng(0)
    x = (
        random.uniform(-80, 80, 32_000)
        if name == "quick_exponential"
        else 10 ** random.uniform(-10, 10, 32_000)
    )
    x = np.concatenate((x, [1.0] * 64)).astype(REAL[kind])
    got = x.copy()
    getattr(built, f"run_{name}")(got.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(len(got)))
    want = QUICK[name](x.astype(WIDER[kind]))
    scale = np.abs(want) * (1 + np.abs(x) / 10) if name == "quick_exponential" else 1 + np.abs(want)
    assert (np.abs(got - want) / scale).max() <= (3e-7 if kind == "float" else 1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_functions_on_millions_of_points(functions, name):
    check(functions, name, 2_000_000)
