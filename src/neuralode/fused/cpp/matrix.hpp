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

// g[r GM + c L ...] += sum over stages s and lanes l of x_s[r][l] turned[s][l][c L ...]
template <int R, int Q, int GM> static inline void rank(const V* x, int64_t sx, const T* turned, int count, T* g) {
    V sum[R][Q];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < Q; c++) memcpy(&sum[r][c], g + r * GM + c * L, sizeof(V));
    for (int s = 0; s < count; s++) {
        const T* left = (const T*)(x + s * sx);
        for (int l = 0; l < L; l++, turned += Q * L) {
            V right[Q];
            for (int c = 0; c < Q; c++) memcpy(&right[c], turned + c * L, sizeof(V));
#pragma GCC unroll 8
            for (int r = 0; r < R; r++)
                for (int c = 0; c < Q; c++) sum[r][c] += left[r * L + l] * right[c];
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < Q; c++) memcpy(g + r * GM + c * L, &sum[r][c], sizeof(V));
}

// The same for all M rows, and Q L columns.
template <int Q, int Mm, int GM>
static inline void panel(const V* x, int64_t sx, const V* y, int64_t sy, int count, T* g) {
    constexpr int rows = BYTES == 64 ? 6 : 4, sets = Mm / rows * rows;
    alignas(64) T turned[(EVALUATIONS + EXTRA) * Q * L * L];
    for (int s = 0; s < count; s++)
        for (int c = 0; c < Q; c++) {
            V block[L];
            for (int l = 0; l < L; l++) block[l] = y[s * sy + c * L + l];
            transpose_by<1>(block);
            for (int l = 0; l < L; l++) memcpy(turned + ((s * L + l) * Q + c) * L, &block[l], sizeof(V));
        }
    for (int m = 0; m < sets; m += rows) rank<rows, Q, GM>(x + m, sx, turned, count, g + m * GM);
    if constexpr (Mm > sets) rank<Mm - sets, Q, GM>(x + sets, sx, turned, count, g + sets * GM);
}

// g[m GM + n] += sum over stages and lanes of x[m] y[n]; sx, sy: from a stage's vector to the next one's.
template <int Mm, int N, int GM>
static __attribute__((noinline)) void
outer(const V* __restrict x, int64_t sx, const V* __restrict y, int64_t sy, int count, T* __restrict g) {
    constexpr int whole = N / L * L, pairs = whole / (2 * L) * (2 * L);
    for (int n = 0; n < pairs; n += 2 * L) panel<2, Mm, GM>(x, sx, y + n, sy, count, g + n);
    if constexpr (whole > pairs) panel<1, Mm, GM>(x, sx, y + pairs, sy, count, g + pairs);
    for (int m = 0; m < Mm; m++)
        for (int n = whole; n < N; n++) {
            V sum = {};
            for (int s = 0; s < count; s++) sum += x[s * sx + m] * y[s * sy + n];
            g[m * GM + n] += lane_sum(sum);
        }
}

// The same lane by lane, for few entries: R rows and Q columns at once.
template <int R, int Q, int GM>
static inline void few_by_lane(const V* x, int64_t sx, const V* y, int64_t sy, int count, V* g) {
    V sum[R][Q];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < Q; c++) sum[r][c] = g[r * GM + c];
    for (int s = 0; s < count; s++)
#pragma GCC unroll 4
        for (int r = 0; r < R; r++)
            for (int c = 0; c < Q; c++) sum[r][c] += x[s * sx + r] * y[s * sy + c];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < Q; c++) g[r * GM + c] = sum[r][c];
}
template <int R, int N, int GM>
static inline void rows_by_lane(const V* x, int64_t sx, const V* y, int64_t sy, int count, V* g) {
    constexpr int columns = N < 4 ? N : 4, whole = N / columns * columns;
    for (int n = 0; n < whole; n += columns) few_by_lane<R, columns, GM>(x, sx, y + n, sy, count, g + n);
    if constexpr (N > whole) few_by_lane<R, N - whole, GM>(x, sx, y + whole, sy, count, g + whole);
}
template <int Mm, int N, int GM>
static __attribute__((noinline)) void
outer_by_lane(const V* __restrict x, int64_t sx, const V* __restrict y, int64_t sy, int count, V* __restrict g) {
    constexpr int rows = Mm < 4 ? Mm : 4, whole = Mm / rows * rows;
    for (int m = 0; m < whole; m += rows) rows_by_lane<rows, N, GM>(x + m, sx, y, sy, count, g + m * GM);
    if constexpr (Mm > whole) rows_by_lane<Mm - whole, N, GM>(x + whole, sx, y, sy, count, g + whole * GM);
}
