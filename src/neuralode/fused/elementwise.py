"""The table of elementwise operations: name in ATen -> C++ text, {0}, {1} ... the operands (vectors of lanes).

The functions are those of ``cpp/math.hpp``; what that does not have goes lane by lane through the C library.
"""

ARITHMETIC = {
    "add.Tensor": "{0} + {1}",
    "add.Scalar": "{0} + {1}",
    "sub.Tensor": "{0} - {1}",
    "sub.Scalar": "{0} - {1}",
    "rsub.Scalar": "{1} - {0}",
    "rsub.Tensor": "{1} - {0}",
    "mul.Tensor": "{0} * {1}",
    "mul.Scalar": "{0} * {1}",
    "div.Tensor": "{0} / {1}",
    "div.Scalar": "{0} / {1}",
    "neg.default": "-{0}",
    "reciprocal.default": "T(1) / {0}",
    "rsqrt.default": "T(1) / root({0})",
    "addcmul.default": "{0} + {1} * {2}",
    "addcdiv.default": "{0} + {1} / {2}",
    "lerp.Scalar": "{0} + {2} * ({1} - {0})",
    "square.default": "{0} * {0}",
}
FUNCTIONS = {
    "abs.default": "magnitude({0})",
    "sign.default": "signum({0})",
    "sgn.default": "signum({0})",
    "sqrt.default": "root({0})",
    "exp.default": "exponential({0})",
    "expm1.default": "exponential_minus_one({0})",
    "log.default": "logarithm({0})",
    "log1p.default": "logarithm_plus_one({0})",
    "tanh.default": "hyperbolic_tangent({0})",
    "sigmoid.default": "logistic({0})",
    "erf.default": "error_function({0})",
    "sin.default": "sine({0})",
    "cos.default": "cosine({0})",
    "relu.default": "greater(V{{}}, {0})",
    "maximum.default": "greater({0}, {1})",
    "minimum.default": "smaller({0}, {1})",
    "clamp_min.default": "greater({0}, {1})",
    "clamp_max.default": "smaller({0}, {1})",
    "pow.Tensor_Tensor": "lanewise({0}, {1}, [](T a, T b) {{ return std::pow(a, b); }})",
    "pow.Scalar": "lanewise({0}, {1}, [](T a, T b) {{ return std::pow(a, b); }})",
    "atan2.default": "lanewise({0}, {1}, [](T a, T b) {{ return std::atan2(a, b); }})",
    "fmod.Tensor": "lanewise({0}, {1}, [](T a, T b) {{ return std::fmod(a, b); }})",
}
LIBRARY = (
    "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erfc", "log2",
    "log10", "exp2", "floor", "ceil", "trunc",
)  # fmt: skip
FUNCTIONS |= {
    f"{name}.default": f"lanewise({{0}}, [](T a) {{{{ return std::{name}(a); }}}})" for name in LIBRARY
}
FUNCTIONS["round.default"] = "lanewise({0}, [](T a) {{ return std::nearbyint(a); }})"
COMPARISONS = {
    f"{name}.{kind}": f"{{0}} {sign} {{1}}"
    for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("eq", "=="), ("ne", "!="))
    for kind in ("Tensor", "Scalar")
}
COMPARISONS["isnan.default"] = "{0} != {0}"
COMPARISONS["isinf.default"] = "magnitude({0}) == B(std::numeric_limits<T>::infinity())"
LOGIC = {
    "logical_and.default": "{0} & {1}",
    "logical_or.default": "{0} | {1}",
    "logical_xor.default": "{0} ^ {1}",
    "logical_not.default": "~{0}",
    "bitwise_and.Tensor": "{0} & {1}",
    "bitwise_or.Tensor": "{0} | {1}",
    "bitwise_xor.Tensor": "{0} ^ {1}",
    "bitwise_not.default": "~{0}",
}
TEXTS = ARITHMETIC | FUNCTIONS
CHOICE = "({0} ? {1} : {2})"


def power(exponent: float) -> str:
    """x to a known power."""
    if exponent == int(exponent) and 0 < abs(exponent) <= 8:
        product = " * ".join(["{0}"] * abs(int(exponent)))
        return product if exponent > 0 else f"T(1) / ({product})"
    if exponent == 0.5:
        return "root({0})"
    if exponent == -0.5:
        return "T(1) / root({0})"
    return "T(1) + V{{}}" if exponent == 0 else FUNCTIONS["pow.Tensor_Tensor"]
