// The accepted steps themselves, for dense output and for outputs at every step.

// Step number i of sample b, which lies in a lane; steps for which there is no room are only counted.
static void put_knot(const Call& call, int64_t i, int64_t b, int l, const Times& t, const Times& h, const V* y, const V* k) {
    if (i >= call.knots) return;
    const int64_t at = i * call.samples + b;
    call.knot_t[at] = t[l], call.knot_h[at] = h[l];
    for (int n = 0; n < N; n++) call.knot_y[at * N + n] = y[n][l];
    for (int j = 0; call.knot_k && j < DENSE; j++) {
        T* to = call.knot_k + (j * call.knots * call.samples + at) * N;
        for (int n = 0; n < N; n++) to[n] = k[DENSE_STAGE[j] * N + n][l];
    }
}
