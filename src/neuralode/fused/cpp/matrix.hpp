// Products of a sample's vector with a matrix that all samples share, and the gradient of such a matrix.

constexpr int TILE = BYTES == 64 ? 12 : BYTES == 32 ? 6 : 4;  // outputs in registers at once

template <int K, int J, int SK, int SN> static inline void tile(const V* x, const T* w, V* out) {
    V sum[J];
    for (int j = 0; j < J; j++) sum[j] = V{};
    for (int k = 0; k < K; k++) {
        const V xk = x[k];
#pragma GCC unroll 16
        for (int j = 0; j < J; j++) sum[j] += xk * w[k * SK + j * SN];
    }
    for (int j = 0; j < J; j++) out[j] = sum[j];
}

// out[n] = sum_k x[k] w[k SK + n SN]
template <int K, int N, int SK, int SN>
static __attribute__((noinline)) void product(const V* __restrict x, const T* __restrict w, V* __restrict out) {
    constexpr int whole = N / TILE * TILE;
    for (int n = 0; n < whole; n += TILE) tile<K, TILE, SK, SN>(x, w + n * SN, out + n);
    if constexpr (N > whole) tile<K, N - whole, SK, SN>(x, w + whole * SN, out + whole);
}

// Rows of lanes to columns: out[l] holds lane l of x[0] ... x[L - 1]. In each round a register takes its upper or lower
// halves of pairs from two that lie further and further apart.
template <int D, int... I> static inline void exchange(V& a, V& b, Numbers<I...>) {
    const V low = __builtin_shufflevector(a, b, (I & D ? L + I - D : I)...);
    const V high = __builtin_shufflevector(a, b, (I & D ? L + I : I + D)...);
    a = low, b = high;
}
template <int D> static inline void transpose_by(V* x) {
#pragma GCC unroll 16
    for (int i = 0; i < L; i++)
        if (!(i & D)) exchange<D>(x[i], x[i + D], typename Range<L>::List());
    if constexpr (2 * D < L) transpose_by<2 * D>(x);
}

// g[r GM + c L ...] += sum_l x[r][l] turned[l][c L ...]
template <int R, int Q, int W, int GM> static inline void rank(const V* x, const T* turned, T* g) {
    V sum[R][Q];
    const T* left = (const T*)x;
    for (int r = 0; r < R; r++)
        for (int c = 0; c < Q; c++) memcpy(&sum[r][c], g + r * GM + c * L, sizeof(V));
    for (int l = 0; l < L; l++) {
        V right[Q];
        for (int c = 0; c < Q; c++) memcpy(&right[c], turned + l * W + c * L, sizeof(V));
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
            for (int c = 0; c < Q; c++) sum[r][c] += left[r * L + l] * right[c];
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < Q; c++) memcpy(g + r * GM + c * L, &sum[r][c], sizeof(V));
}

template <int R, int N, int GM> static inline void rank_rows(const V* x, const T* turned, T* g) {
    constexpr int whole = N / L * L, pairs = whole / (2 * L) * (2 * L);
    for (int n = 0; n < pairs; n += 2 * L) rank<R, 2, N, GM>(x, turned + n, g + n);
    if constexpr (whole > pairs) rank<R, 1, N, GM>(x, turned + pairs, g + pairs);
}

// g[m GM + n] += sum over lanes of x[m] y[n]
template <int Mm, int N, int GM>
static __attribute__((noinline)) void outer(const V* __restrict x, const V* __restrict y, T* __restrict g) {
    constexpr int rows = BYTES == 64 ? 6 : 4, whole = N / L * L, sets = Mm / rows * rows;
    if constexpr (whole > 0) {
        alignas(64) T turned[L * N];
        for (int n = 0; n < whole; n += L) {
            V block[L];
            for (int l = 0; l < L; l++) block[l] = y[n + l];
            transpose_by<1>(block);
            for (int l = 0; l < L; l++) memcpy(turned + l * N + n, &block[l], sizeof(V));
        }
        for (int m = 0; m < sets; m += rows) rank_rows<rows, N, GM>(x + m, turned, g + m * GM);
        if constexpr (Mm > sets) rank_rows<Mm - sets, N, GM>(x + sets, turned, g + sets * GM);
    }
    for (int m = 0; m < Mm; m++)
        for (int n = whole; n < N; n++) g[m * GM + n] += lane_sum(x[m] * y[n]);
}

// The same lane by lane, for few entries.
template <int Mm, int N, int GM> static inline void outer_by_lane(const V* x, const V* y, V* g) {
    for (int m = 0; m < Mm; m++)
        for (int n = 0; n < N; n++) g[m * GM + n] += x[m] * y[n];
}
