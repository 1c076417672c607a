// sin and cos of a vector of lanes, within two units in the last place; float and double.
// Arguments are reduced by a multiple of pi/2 in three parts, in doubles; those beyond LONGEST go to the C library, one
// by one. Polynomials on |r| <= pi/4: double as in Sun's fdlibm (k_sin.c, k_cos.c, e_rem_pio2.c), float as in
// Cephes (Moshier, sinf.c).

constexpr double LONGEST = 1e6;  // below it a multiple of the first 33 bits of pi/2 is exact

// a = n pi/2 + r + rest for 0 <= a <= LONGEST.
static inline void quarters(VD a, VD& r, VD& rest, VD& n) {
    const double magic = 6755399441055744.0;
    n = (a * 6.36619772367581382433e-01 + magic) - magic;
    const VD first = a - n * 1.57079632673412561417e+00, second = n * 6.07710050630396597660e-11;
    const VD most = first - second;
    const VD lost = n * 2.02226624879595063154e-21 - ((first - most) - second);
    r = most - lost;
    rest = (most - r) - lost;
}
static inline void quarters(VD a, VD& r, VD& rest, ID& n) {
    VD count;
    quarters(a, r, rest, count);
    n = whole(count);
}
static inline void quarters(VF a, VF& r, VF& rest, IF& n) {
    VD low, high, lost, first, second;
    quarters(__builtin_convertvector(half_of<0>(a), VD), low, lost, first);
    quarters(__builtin_convertvector(half_of<1>(a), VD), high, lost, second);
    r = joined(__builtin_convertvector(low, VH), __builtin_convertvector(high, VH));
    n = joined(__builtin_convertvector(first, IH), __builtin_convertvector(second, IH));
    rest = VF{};
}

static inline VF short_sine(VF r, VF) {
    const VF z = r * r;
    return r + ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * (z * r);
}
static inline VF short_cosine(VF r, VF) {
    const VF z = r * r, half = 0.5f * z;
    return 1 - (half - ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * (z * z));
}
static inline VD short_sine(VD r, VD rest) {
    const VD z = r * r, cube = z * r;
    VD p = 1.58969099521155010221e-10 * z - 2.50507602534068634195e-08;
    p = p * z + 2.75573137070700676789e-06;
    p = p * z - 1.98412698298579493134e-04;
    p = p * z + 8.33333333332248946124e-03;
    return r - ((z * (0.5 * rest - cube * p) - rest) - cube * -1.66666666666666324348e-01);
}
static inline VD short_cosine(VD r, VD rest) {
    const VD z = r * r, half = 0.5 * z, first = 1 - half;
    VD p = -1.13596475577881948265e-11 * z + 2.08757232129817482790e-09;
    p = p * z - 2.75573143513906633035e-07;
    p = p * z + 2.48015872894767294178e-05;
    p = p * z - 1.38888888888741095749e-03;
    p = p * z + 4.16666666666666019037e-02;
    return first + (((1 - first) - half) + (z * (z * p) - r * rest));
}

// sin(a + shift pi/2) for a >= 0.
template <class W> static inline W wave(W a, int shift) {
    const W most = W{} + LONGEST;
    W r, rest;
    decltype(bits(a)) n;
    quarters(a < most ? a : W{}, r, rest, n);
    n += shift;
    const W result = (n & 1) != 0 ? short_cosine(r, rest) : short_sine(r, rest);
    return (W)(bits(result) ^ ((n & 2) << (sizeof(result[0]) * 8 - 2)));
}
template <class W, class F> static inline W beyond(W x, W result, F f) {
    const auto far = ~(magnitude(x) < W{} + LONGEST);
    if (__builtin_expect(bits_of((ID)far | ((ID)far << 32)) != 0, 0))
        for (unsigned l = 0; l < sizeof(W) / sizeof(x[0]); l++)
            if (far[l]) result[l] = f(x[l]);
    return result;
}
static inline V sine(V x) {
    const V flipped = (V)(bits(wave(magnitude(x), 0)) ^ (bits(x) ^ bits(magnitude(x))));
    return beyond(x, flipped, [](T one) { return std::sin(one); });
}
static inline V cosine(V x) {
    return beyond(x, wave(magnitude(x), 1), [](T one) { return std::cos(one); });
}
