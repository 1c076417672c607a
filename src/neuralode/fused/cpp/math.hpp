// Functions of a vector of lanes, each within two units in the last place; float and double.
// Polynomials and reductions: exp by Taylor's series on |r| <= ln(2)/2; log and log1p as in Sun's fdlibm (s_log.c);
// tanh by Cephes' rational and polynomial approximations (Moshier) below 0.625, by exp above.

static inline IF bits(VF x) { return (IF)x; }
static inline ID bits(VD x) { return (ID)x; }
static inline VF magnitude(VF x) { return (VF)(bits(x) & 0x7fffffff); }
static inline VD magnitude(VD x) { return (VD)(bits(x) & 0x7fffffffffffffffLL); }
static inline VF with_sign(VF x, VF s) { return (VF)(bits(x) | (bits(s) & ~0x7fffffff)); }
static inline VD with_sign(VD x, VD s) { return (VD)(bits(x) | (bits(s) & ~0x7fffffffffffffffLL)); }

template <class W> static inline W greater(W a, W b) { return ((a > b) | (a != a)) ? a : b; }
template <class W> static inline W smaller(W a, W b) { return ((a < b) | (a != a)) ? a : b; }
template <class W> static inline W signum(W x) { return x > 0 ? W{} + 1 : x < 0 ? W{} - 1 : x; }
template <class W> static inline W root(W x) {
    for (unsigned l = 0; l < sizeof(W) / sizeof(x[0]); l++) x[l] = std::sqrt(x[l]);
    return x;
}
template <class F> static inline V lanewise(V x, F f) {
    for (int l = 0; l < L; l++) x[l] = f(x[l]);
    return x;
}
template <class F> static inline V lanewise(V x, V y, F f) {
    for (int l = 0; l < L; l++) x[l] = f(x[l], y[l]);
    return x;
}

// x = n ln 2 + r + rest.
static inline void reduce(VF x, VF& r, VF& rest, IF& n) {
    const float magic = 12582912.0f;
    VF shifted = x * 1.44269504088896341f + magic, whole = shifted - magic;
    n = bits(shifted) - bits(VF{} + magic);
    const VF high = x - whole * 0.693359375f, low = whole * -2.12194440e-4f;
    r = high - low;
    rest = (high - r) - low;
}
static inline void reduce(VD x, VD& r, VD& rest, ID& n) {
    const double magic = 6755399441055744.0;
    VD shifted = x * 1.4426950408889634074 + magic, whole = shifted - magic;
    n = bits(shifted) - bits(VD{} + magic);
    const VD high = x - whole * 6.93145751953125e-1, low = whole * 1.42860682030941723212e-6;
    r = high - low;
    rest = (high - r) - low;
}
static inline VF power_of_two(IF n) { return (VF)((n + 127) << 23); }
static inline VD power_of_two(ID n) { return (VD)((n + 1023) << 52); }

// exp(r + rest) - 1 for |r| <= ln(2)/2.
static inline VF short_expm1(VF r, VF rest) {
    VF q = r * (1 / 40320.0f) + 1 / 5040.0f;
    q = q * r + 1 / 720.0f;
    q = q * r + 1 / 120.0f;
    q = q * r + 1 / 24.0f;
    q = q * r + 1 / 6.0f;
    q = q * r + 0.5f;
    return r + ((r * r) * q + rest);
}
static inline VD short_expm1(VD r, VD rest) {
    VD q = r * (1 / 87178291200.0) + 1 / 6227020800.0;
    q = q * r + 1 / 479001600.0;
    q = q * r + 1 / 39916800.0;
    q = q * r + 1 / 3628800.0;
    q = q * r + 1 / 362880.0;
    q = q * r + 1 / 40320.0;
    q = q * r + 1 / 5040.0;
    q = q * r + 1 / 720.0;
    q = q * r + 1 / 120.0;
    q = q * r + 1 / 24.0;
    q = q * r + 1 / 6.0;
    q = q * r + 0.5;
    return r + ((r * r) * q + rest);
}

template <class W> static inline W between(W x, W low, W high) { return x < low ? low : x > high ? high : x; }
static inline VF exp_range(VF x) { return between(x, VF{} - 105.0f, VF{} + 89.0f); }
static inline VD exp_range(VD x) { return between(x, VD{} - 746.0, VD{} + 710.0); }

template <class W> static inline W exponential(W x) {
    W r, rest;
    decltype(bits(x)) n;
    reduce(exp_range(x), r, rest, n);
    auto half = n >> 1;
    return (1 + short_expm1(r, rest)) * power_of_two(half) * power_of_two(n - half);  // twice, for denormal results
}

template <class W> static inline W small_exponential(W x) {  // |x| <= 80
    W r, rest;
    decltype(bits(x)) n;
    reduce(x, r, rest, n);
    return (1 + short_expm1(r, rest)) * power_of_two(n);
}

template <class W> static inline W exponential_minus_one(W x) {
    W r, rest, c = x < -50 ? W{} - 50 : exp_range(x);
    decltype(bits(x)) n;
    reduce(c, r, rest, n);
    auto half = n >> 1;
    W p = short_expm1(r, rest), a = power_of_two(half), b = power_of_two(n - half);
    W result = n > 30 ? (1 + p) * a * b - 1 : (p * a) * b + (a * b - 1);
    return x == 0 ? x : result;
}

// log(m 2^k) + c for m near 1, f = m - 1.
static inline VF log_of(VF f, VF k, VF c) {
    VF s = f / (2 + f), z = s * s, w = z * z, half = 0.5f * f * f;
    VF tail = w * (0.40000972152f + w * 0.24279078841f) + z * (0.66666662693f + w * 0.28498786688f);
    return k * 6.9313812256e-01f - ((half - (s * (half + tail) + (k * 9.0580006145e-06f + c))) - f);
}
static inline VD log_of(VD f, VD k, VD c) {
    VD s = f / (2 + f), z = s * s, w = z * z, half = 0.5 * f * f;
    VD even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    VD odd = 1.818357216161805012e-01 + w * 1.479819860511658591e-01;
    odd = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * odd));
    return k * 6.93147180369123816490e-01 -
           ((half - (s * (half + (even + odd)) + (k * 1.90821492927058770002e-10 + c))) - f);
}
// u = m 2^k with m in [sqrt(1/2), sqrt(2)), for normal u.
static inline void split(VF u, VF& m, VF& k) {
    const float magic = 12582912.0f;
    IF i = bits(u) + (0x3f800000 - 0x3f3504f3);
    k = (VF)((i >> 23) - 127 + bits(VF{} + magic)) - magic;
    m = (VF)((i & 0x7fffff) + 0x3f3504f3);
}
static inline void split(VD u, VD& m, VD& k) {
    const double magic = 6755399441055744.0;
    const int64_t lowest = 0x3fe6a09e00000000LL;
    ID i = bits(u) + (0x3ff0000000000000LL - lowest);
    k = (VD)((i >> 52) - 1023 + bits(VD{} + magic)) - magic;
    m = (VD)((i & 0xfffffffffffffLL) + lowest);
}
template <class W> static inline W log_limits(W x, W result) {
    typedef typename std::remove_reference<decltype(x[0])>::type S;
    const W infinite = W{} + std::numeric_limits<S>::infinity();
    result = x == 0 ? -infinite : result;
    return x < 0 ? W{} + std::numeric_limits<S>::quiet_NaN() : (x == infinite) | (x != x) ? x : result;
}
template <class W> static inline W plain_logarithm(W x) {  // of normal numbers
    W m, k;
    split(x, m, k);
    return log_of(m - 1, k, W{});
}
template <class W> static inline W logarithm(W x) {
    typedef typename std::remove_reference<decltype(x[0])>::type S;
    const S least = std::numeric_limits<S>::min();
    const S scale = sizeof(S) == 4 ? S(33554432.0) : S(18014398509481984.0);
    auto tiny = x < least;
    W m, k;
    split(tiny ? x * scale : x, m, k);
    k = tiny ? k - (sizeof(S) == 4 ? 25 : 54) : k;
    return log_limits(x, log_of(m - 1, k, W{}));
}
template <class W> static inline W logarithm_plus_one(W x) {
    W u = 1 + x, m, k;
    split(u, m, k);
    W lost = u > 2 ? 1 - (u - x) : x - (u - 1);  // of x, in the rounding of u
    auto plain = k == 0;
    W result = log_of(plain ? x : m - 1, k, plain ? W{} : lost / u);
    return x == 0 ? x : log_limits(u, result);
}

static inline void short_tanh(VF x, VF& above, VF& below) {  // tanh(x) = x + above / below
    VF z = x * x, p = -5.70498872745e-3f * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    above = (p * z - 3.33332819422e-1f) * z * x;
    below = VF{} + 1;
}
static inline void short_tanh(VD x, VD& above, VD& below) {
    VD z = x * x;
    VD p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3;
    above = p * z * x;
    below = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3;
}
template <class W> static inline W hyperbolic_tangent(W x) {
    W a = magnitude(x), above, below;
    short_tanh(a, above, below);
    auto low = a < 0.625f;
    W rise = exponential(2 * a);
    W quotient = (low ? above : W{} - 2) / (low ? below : rise + 1);
    return with_sign((low ? a : W{} + 1) + quotient, x);
}
template <class W> static inline W logistic(W x) {
    W e = exponential(-magnitude(x)), sum = 1 + e, q = (x < 0 ? e : W{} + 1) / sum;
    return q - q * (e - (sum - 1)) * (x < 0 ? 1 - q : q);  // less what the rounding of the sum has lost
}
