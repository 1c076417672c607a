// Functions of a vector of lanes, each within two units in the last place; float and double.
// Polynomials and reductions: exp by Taylor's series on |r| <= ln(2)/2; log and log1p as in Sun's fdlibm (s_log.c);
// tanh by exp, of floats near 0 by a polynomial (least largest error, by Lawson's iteration). sin and cos are in
// circular.hpp.

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
// x within [low, high]; NaN stays.
template <class W> static inline W bounded(W x, W low, W high) {
    x = high < x ? high : x;
    return low > x ? low : x;
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
static inline void reduce(VF x, VF& r, VF& n) {  // the same without the rest
    const float magic = 12582912.0f;
    n = (x * 1.44269504088896341f + magic) - magic;
    r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
}
static inline void reduce(VD x, VD& r, VD& n) {
    const double magic = 6755399441055744.0;
    n = (x * 1.4426950408889634074 + magic) - magic;
    r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6;
}
static inline IF whole(VF n) { return bits(n + 12582912.0f) - bits(VF{} + 12582912.0f); }
static inline ID whole(VD n) { return bits(n + 6755399441055744.0) - bits(VD{} + 6755399441055744.0); }
static inline VF power_of_two(IF n) { return (VF)((n + 127) << 23); }
static inline VD power_of_two(ID n) { return (VD)((n + 1023) << 52); }

// x 2^n.
#if BYTES == 64 && defined(__AVX512F__)
static inline VF scaled(VF x, VF n) { return __builtin_ia32_scalefps512_mask(x, n, x, -1, 4); }
static inline VD scaled(VD x, VD n) { return __builtin_ia32_scalefpd512_mask(x, n, x, -1, 4); }
template <class W> static inline W scaled_a_little(W x, W n) { return scaled(x, n); }
#else
template <class W> static inline W scaled(W x, W n) {  // in two products, for denormal results
    const auto i = whole(n), half = i >> 1;
    return x * power_of_two(half) * power_of_two(i - half);
}
template <class W> static inline W scaled_a_little(W x, W n) { return x * power_of_two(whole(n)); }
#endif

// exp(r + rest) - 1 for |r| <= ln(2)/2: 1 + r + r^2 q(r), q interpolated at Chebyshev points.
static inline VF short_expm1(VF r, VF rest) {
    VF q = 1.9891030654370327e-4f * r + 1.3933685862617174e-3f;
    q = q * r + 8.333310889582076e-3f;
    q = q * r + 4.166646460202654e-2f;
    q = q * r + 1.6666666681659179e-1f;
    q = q * r + 0.5f;
    return r + ((r * r) * q + rest);
}
static inline VD short_expm1(VD r, VD rest) {
    VD q = 2.0914717341716378e-9 * r + 2.5105259538448494e-8;
    q = q * r + 2.755727357010214e-7;
    q = q * r + 2.7557255297969643e-6;
    q = q * r + 2.4801587325605324e-5;
    q = q * r + 1.984126987490126e-4;
    q = q * r + 1.388888888888373e-3;
    q = q * r + 8.333333333326112e-3;
    q = q * r + 4.166666666666667e-2;
    q = q * r + 1.666666666666667e-1;
    q = q * r + 0.5;
    return r + ((r * r) * q + rest);
}

static inline VF exp_range(VF x) { return bounded(x, VF{} - 105.0f, VF{} + 89.0f); }
static inline VD exp_range(VD x) { return bounded(x, VD{} - 746.0, VD{} + 710.0); }

template <class W> static inline W exponential(W x) {
    W r, n;
    reduce(exp_range(x), r, n);
    return scaled(1 + short_expm1(r, W{}), n);
}

// For step sizes, |x| <= 80: of floats within (3 + |x| / 3) 1e-7 of the result, by a short chain of operations.
static inline VF quick_exponential(VF x) {
    const float magic = 12582912.0f;
    const VF n = (x * 1.44269504088896341f + magic) - magic, r = x - n * 0.693147181f, z = r * r;
    const VF low = 1.00000006f * r + 1.00000008f, middle = 0.166663256f * r + 0.499988691f;
    const VF high = 0.00838111201f * r + 0.0419175272f;
    return scaled_a_little((z * z) * high + (z * middle + low), n);
}
static inline VD quick_exponential(VD x) {
    VD r, n;
    reduce(x, r, n);
    return scaled_a_little(1 + short_expm1(r, VD{}), n);
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
// For step sizes, of normal numbers: of floats within (1 + |log(x)|) 3e-7, by a short chain of operations.
static inline VF quick_logarithm(VF x) {
    const IF above = bits(x) - 0x3f2aaaab;  // 2/3
    const VF k = __builtin_convertvector(above >> 23, VF), f = (VF)(bits(x) - (above & ~0x7fffff)) - 1.0f, z = f * f;
    const VF low = 0.333408432f * f - 0.500034075f, middle = 0.197141731f * f - 0.248064811f;
    const VF high = 0.176083368f * f - 0.196396109f;
    return z * ((z * z) * high + (z * middle + low)) + (k * 0.693147181f + f);
}
static inline VD quick_logarithm(VD x) {
    VD m, k;
    split(x, m, k);
    return log_of(m - 1, k, VD{});
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

// 2^(k / 8) of each lane, for k modulo 8.
static inline VF eighths(IF k) {
    static const float power[16] = {1.0f,        1.09050773f, 1.18920712f, 1.29683955f, 1.41421356f, 1.54221083f,
                                    1.68179283f, 1.83400809f, 1.0f,        1.09050773f, 1.18920712f, 1.29683955f,
                                    1.41421356f, 1.54221083f, 1.68179283f, 1.83400809f};
    VF out;
#if BYTES >= 32 && defined(__AVX2__)
    memcpy(&out, power, sizeof out);
#ifndef __clang__
    return __builtin_shuffle(out, k);
#elif BYTES == 64
    return __builtin_ia32_permvarsf512(out, k);
#else
    return __builtin_ia32_permvarsf256(out, k);
#endif
#else
    for (unsigned l = 0; l < sizeof(VF) / sizeof(float); l++) out[l] = power[k[l] & 7];
    return out;
#endif
}
// |x| < 0.5493: an odd polynomial; above: 1 - 2 / (exp(2 |x|) + 1), the exponential as 2^(k / 8) p(r) with
// r = |x| - k ln(2) / 16.
static inline VF hyperbolic_tangent(VF x) {
    const float magic = 12582912.0f;  // the lowest bits of the sum below are k
    const VF a = magnitude(x), c = a > 10.0f ? VF{} + 10.0f : a;
    const VF s = c * 23.083120654223414f + magic, r = c - (s - magic) * 0.04332169878499658f;
    const IF k = bits(s);
    VF p = 1.33352177f * r + 2.00031407f;
    p = p * r + 2.0f;
    p = p * r + 1.0f;
    const VF power = (VF)(bits(eighths(k)) + ((k & -8) << 20));
    const VF far = 1.0f - 2.0f / (p * power + 1.0f), z = x * x;
    VF w = 0.01641227f * z - 0.05265888f;
    w = w * z + 0.1332053f;
    w = w * z - 0.33332938f;
    return a < 0.5493f ? x * (z * w + 1.0f) : with_sign(far, x);
}
// m / (m + 2) with m = exp(2 |x|) - 1, less what the rounding of the sum has lost where that matters.
static inline VD hyperbolic_tangent(VD x) {
    VD a = magnitude(x), r, rest;
    ID n;
    reduce(2 * (20.0 < a ? VD{} + 20.0 : a), r, rest, n);
    const VD p = short_expm1(r, rest), power = power_of_two(n), m = p * power + (power - 1);
    const VD sum = m + 2, q = m / sum, lost = m < 4 ? m - (sum - 2) : VD{};
    return with_sign(q - q * lost * (0.5 - 0.5 * q), x);
}
template <class W> static inline W logistic(W x) {
    W e = exponential(-magnitude(x)), sum = 1 + e, q = (x < 0 ? e : W{} + 1) / sum;
    return q - q * (e - (sum - 1)) * (x < 0 ? 1 - q : q);  // less what the rounding of the sum has lost
}

// |x| < 0.92: an odd polynomial; above: 1 - exp(-p(|x|)).
static inline VF error_function(VF x) {
    const VF a = magnitude(x), c = a > 4.0f ? VF{} + 4.0f : a, z = x * x;
    VF p = -1.98219637e-4f * c + 3.06549013e-3f;
    p = p * c - 2.23152124e-2f;
    p = p * c + 1.04113677e-1f;
    p = p * c + 6.36976085e-1f;
    p = p * c + 1.12779724f;
    p = p * c + 1.66447890e-4f;
    VF w = -5.9907e-4f * z + 4.99314e-3f;
    w = w * z - 2.676659e-2f;
    w = w * z + 1.1281816e-1f;
    w = w * z - 3.7612494e-1f;
    w = w * z + 1.2837915e-1f;
    return a < 0.92f ? x * w + x : with_sign(1.0f - exponential(-p), x);
}
static inline VD error_function(VD x) {
    for (unsigned l = 0; l < sizeof(VD) / sizeof(double); l++) x[l] = std::erf(x[l]);
    return x;
}
