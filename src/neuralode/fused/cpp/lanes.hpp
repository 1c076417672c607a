// One SIMD lane per sample: vectors of lanes, and what reads and writes them.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

typedef float VF __attribute__((vector_size(BYTES)));
typedef double VD __attribute__((vector_size(BYTES)));
typedef int32_t IF __attribute__((vector_size(BYTES)));
typedef int64_t ID __attribute__((vector_size(BYTES)));

template <class> struct Lanes;
template <> struct Lanes<float> { typedef VF V; typedef IF M; };
template <> struct Lanes<double> { typedef VD V; typedef ID M; };
using T = REAL;
using V = Lanes<T>::V;
using M = Lanes<T>::M;

constexpr int L = BYTES / sizeof(T);       // lanes in a block
constexpr int LD = BYTES / sizeof(double);  // of them, in a vector of times
constexpr int C = L / LD;                   // vectors of times in a block

static inline V B(T x) { return x - V{}; }  // the same number in every lane
static inline VD BD(double x) { return x - VD{}; }

// One number per lane in double precision: times, step sizes, error ratios.
struct Times {
    VD part[C];
    double& operator[](int lane) { return ((double*)part)[lane]; }
    double operator[](int lane) const { return ((const double*)part)[lane]; }
};

typedef float VH __attribute__((vector_size(BYTES / 2)));
typedef int32_t IH __attribute__((vector_size(BYTES / 2)));

// One bit a lane: lane 0 is the lowest.
typedef unsigned Bits;
constexpr Bits ALL = (1u << L) - 1;
static inline Bits bits_of(ID x) {
#if BYTES == 64 && defined(__AVX512DQ__)
    typedef long long Native __attribute__((vector_size(64)));
    return (unsigned char)__builtin_ia32_cvtq2mask512((Native)x);
#elif BYTES == 32 && defined(__AVX__)
    return __builtin_ia32_movmskpd256((VD)x);
#elif BYTES == 16 && defined(__SSE2__)
    return __builtin_ia32_movmskpd((VD)x);
#else
    Bits found = 0;
    for (int l = 0; l < LD; l++) found |= Bits(x[l] & 1) << l;
    return found;
#endif
}
static inline int lowest(Bits x) { return __builtin_ctz(x); }

// Yes or no for each lane, beside Times.
struct Marks {
    ID part[C];
    int64_t& operator[](int lane) { return ((int64_t*)part)[lane]; }
    int64_t operator[](int lane) const { return ((const int64_t*)part)[lane]; }
    Bits bits() const {
        Bits found = 0;
        for (int i = 0; i < C; i++) found |= bits_of(part[i]) << i * LD;
        return found;
    }
};

static inline V rounded(const Times& x) {
    V out;
    if constexpr (C == 1) memcpy(&out, x.part, sizeof out);
    else
        for (int i = 0; i < C; i++) {
            const VH half = __builtin_convertvector(x.part[i], VH);
            memcpy((char*)&out + i * sizeof half, &half, sizeof half);
        }
    return out;
}

static inline Times widened(V x) {
    Times out;
    if constexpr (C == 1) memcpy(out.part, &x, sizeof x);
    else
        for (int i = 0; i < C; i++) {
            VH half;
            memcpy(&half, (char*)&x + i * sizeof half, sizeof half);
            out.part[i] = __builtin_convertvector(half, VD);
        }
    return out;
}

static inline Marks widened(M x) {
    Marks out;
    if constexpr (C == 1) memcpy(out.part, &x, sizeof x);
    else
        for (int i = 0; i < C; i++) {
            IH half;
            memcpy(&half, (char*)&x + i * sizeof half, sizeof half);
            out.part[i] = __builtin_convertvector(half, ID);
        }
    return out;
}

static inline M narrowed(const Marks& x) {
    M out;
    if constexpr (C == 1) memcpy(&out, x.part, sizeof out);
    else
        for (int i = 0; i < C; i++) {
            const IH half = __builtin_convertvector(x.part[i], IH);
            memcpy((char*)&out + i * sizeof half, &half, sizeof half);
        }
    return out;
}

// The time of a stage with node c.
static inline V stage_time(const Times& t, const Times& h, double c) {
    Times at;
    for (int i = 0; i < C; i++) at.part[i] = t.part[i] + c * h.part[i];
    return rounded(at);
}

template <class W> static inline auto lane_sum(W x) {
    typedef typename std::remove_reference<decltype(x[0])>::type S;
    S part[sizeof(W) / sizeof(S)];
    memcpy(part, &x, sizeof x);
#pragma GCC unroll 5
    for (int half = sizeof(W) / sizeof(S) / 2; half; half /= 2)
        for (int l = 0; l < half; l++) part[l] += part[l + half];
    return part[0];
}
static inline double lane_sum(const Times& x) {
    VD sum = x.part[0];
    for (int i = 1; i < C; i++) sum += x.part[i];
    return lane_sum(sum);
}
