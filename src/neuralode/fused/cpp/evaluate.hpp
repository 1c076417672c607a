// f alone, for the checks.

// f of each sample at its t0, into y1.
extern "C" int evaluate(const Call* call) {
    Heap<V> y(N), a(A + 1), out(N);
    for (int64_t first = 0; first < call->samples; first += L) {
        Times t;
        for (int l = 0; l < L; l++) {
            const int64_t b = first + l < call->samples ? first + l : first;
            for (int n = 0; n < N; n++) y[n][l] = call->y0[b * N + n];
            for (int n = 0; n < OWN; n++) a[n][l] = call->args[b * OWN + n];
            t[l] = call->t0[b];
        }
        slope(rounded(t), y, a, call->shared, out);
        for (int l = 0; l < L && first + l < call->samples; l++)
            for (int n = 0; n < N; n++) call->y1[(first + l) * N + n] = out[n][l];
    }
    return 0;
}

// Whether all numbers are finite.
extern "C" int all_finite(const T* y, int64_t count) {
    T sum = 0;
    for (int64_t i = 0; i < count; i++) sum += y[i] - y[i];
    return sum == 0;
}
