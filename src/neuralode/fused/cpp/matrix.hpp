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

// g[m GM + n] += sum over lanes of x[m] y[n]
template <int Mm, int N, int GM>
static __attribute__((noinline)) void outer(const V* __restrict x, const V* __restrict y, T* __restrict g) {
    constexpr int rows = 6, whole = N / L * L;
    alignas(64) T turned[L][N];
    for (int n = 0; n < N; n++)
        for (int l = 0; l < L; l++) turned[l][n] = y[n][l];
    for (int m = 0; m < Mm; m += rows) {
        const int count = Mm - m < rows ? Mm - m : rows;
        for (int n = 0; n < whole; n += L) {
            V sum[rows] = {};
            for (int l = 0; l < L; l++) {
                V column;
                memcpy(&column, &turned[l][n], sizeof(V));
                if (count == rows)
                    for (int r = 0; r < rows; r++) sum[r] += x[m + r][l] * column;
                else
                    for (int r = 0; r < count; r++) sum[r] += x[m + r][l] * column;
            }
            for (int r = 0; r < count; r++)
                for (int l = 0; l < L; l++) g[(m + r) * GM + n + l] += sum[r][l];
        }
        for (int r = 0; r < count; r++)
            for (int n = whole; n < N; n++) g[(m + r) * GM + n] += lane_sum(x[m + r] * y[n]);
    }
}
