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

// 0, 1 ... as template arguments.
template <int... I> struct Numbers {};
template <int Count, int... I> struct Range : Range<Count - 1, Count - 1, I...> {};
template <int... I> struct Range<0, I...> { typedef Numbers<I...> List; };

// The lower or upper half of a register, and a register of two halves: by shuffles, for a detour over memory stalls.
template <int Upper, class W, int... I> static inline auto half_of(W x, Numbers<I...>) {
    return __builtin_shufflevector(x, x, (Upper * int(sizeof...(I)) + I)...);
}
template <int Upper, class W> static inline auto half_of(W x) {
    return half_of<Upper>(x, typename Range<sizeof(W) / sizeof(x[0]) / 2>::List());
}
template <class H, int... I> static inline auto joined(H low, H high, Numbers<I...>) {
    return __builtin_shufflevector(low, high, I...);
}
template <class H> static inline auto joined(H low, H high) {
    return joined(low, high, typename Range<2 * sizeof(H) / sizeof(low[0])>::List());
}

// Half a register of one width as a register of the other; one instruction, of which GCC makes four where not told.
#if BYTES == 64 && defined(__AVX512F__) && !defined(__clang__)
static inline VD wide(VH x) { return __builtin_ia32_cvtps2pd512_mask(x, VD{}, -1, 4); }
static inline ID wide(IH x) {
    typedef long long Native __attribute__((vector_size(64)));
    return (ID)__builtin_ia32_pmovsxdq512_mask(x, Native{}, -1);
}
static inline VH slim(VD x) { return __builtin_ia32_cvtpd2ps512_mask(x, VH{}, -1, 4); }
#else
static inline VD wide(VH x) { return __builtin_convertvector(x, VD); }
static inline ID wide(IH x) { return __builtin_convertvector(x, ID); }
static inline VH slim(VD x) { return __builtin_convertvector(x, VH); }
#endif
static inline IH slim(ID x) { return __builtin_convertvector(x, IH); }

static inline VD narrow(const VD* x, VD) { return x[0]; }
static inline ID narrow(const ID* x, ID) { return x[0]; }
static inline VF narrow(const VD* x, VF) { return joined(slim(x[0]), slim(x[1])); }
static inline IF narrow(const ID* x, IF) { return joined(slim(x[0]), slim(x[1])); }
static inline void widen(VD x, VD* to) { to[0] = x; }
static inline void widen(ID x, ID* to) { to[0] = x; }
static inline void widen(VF x, VD* to) { to[0] = wide(half_of<0>(x)), to[1] = wide(half_of<1>(x)); }
static inline void widen(IF x, ID* to) { to[0] = wide(half_of<0>(x)), to[1] = wide(half_of<1>(x)); }
static inline V rounded(const Times& x) { return narrow(x.part, V{}); }
static inline M narrowed(const Marks& x) { return narrow(x.part, M{}); }
static inline Times widened(V x) {
    Times out;
    widen(x, out.part);
    return out;
}
static inline Marks widened(M x) {
    Marks out;
    widen(x, out.part);
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
