// The samples that wait for a lane. The last of a thread are arranged, those with the smallest first steps before the
// others: they tend to take the most steps, and a lane with many steps to go must not be the last to start.

// Samples of the queue with what their first step needs.
struct Queue {
    const Call& call;
    std::atomic<int64_t>& next;
    const int64_t thread, stride;
    int64_t chunks = 0, at = 0, stop = 0, begin = 0;
    bool drained = false;
    int64_t order[CHUNK];
    Heap<T> slopes;
    Heap<double> sizes;
    Heap<V> y, f0, f1, y1, finite_f0, a;
    Queue(const Call& c, std::atomic<int64_t>& n, int64_t i)
        : call(c), next(n), thread(i), stride(c.threads), slopes(CHUNK * N), sizes(CHUNK),
          y(N), f0(N), f1(N), y1(N), finite_f0(N), a(A + 1) {}

    bool empty() {
        if (at < stop) return false;
        if (drained) return true;
        // With a tape every thread has its own samples, so that gradients are summed in the same order every time.
        begin = at = call.tapes ? CHUNK * (thread + stride * chunks++) : next.fetch_add(CHUNK);
        stop = begin + CHUNK < call.samples ? begin + CHUNK : call.samples;
        if (at >= stop) return drained = true;
        for (int64_t first = begin; first < stop; first += L) prepare(first);
        for (int i = 0; i < CHUNK; i++) order[i] = i;
        if (stop + stride * CHUNK >= call.samples) arrange();
        return false;
    }

    int64_t take() { return begin + order[at++ - begin]; }

    void arrange() {
        const double* size = sizes;
        std::stable_sort(order, order + (stop - begin), [size](int64_t a, int64_t b) {
            return (size[a] == size[a] ? size[a] : 0) < (size[b] == size[b] ? size[b] : 0);  // NaN, then the smallest
        });
    }

    void prepare(int64_t first) {
        Times t0, span, sign;
        for (int l = 0; l < L; l++) {
            const int64_t b = first + l < stop ? first + l : first;
            for (int n = 0; n < N; n++) y[n][l] = call.y0[b * N + n];
            for (int n = 0; n < A; n++) a[n][l] = call.args[b * A + n];
            t0[l] = call.t0[b], sign[l] = call.sign[b], span[l] = std::fabs(call.t1[b] - call.t0[b]);
        }
        const bool chosen = call.grid_steps == 0 && !(call.first_step > 0);
        Times size = span;
        if (FSAL || chosen) slope(rounded(t0), y, a, call.shared, f0);
        if (chosen) size = first_size(t0, span, sign);
        else if (call.first_step > 0)
            for (int l = 0; l < L; l++) size[l] = std::fmin(span[l], call.first_step);
        for (int l = 0; l < L && first + l < stop; l++) {
            const int64_t local = first + l - begin;
            sizes[local] = size[l];
            for (int n = 0; n < N; n++) slopes[local * N + n] = f0[n][l];
            call.nfev[first + l] = chosen ? 2 : FSAL ? 1 : 0;
        }
    }

    // NaN where f0 is not finite.
    Times first_size(const Times& t0, const Times& span, const Times& sign) {
        FirstStep first(call, span, sign);
        V d0, d1;
        const V lost = first.norms(y, a, f0, finite_f0, d0, d1);
        first.guess(widened(d0), widened(d1));
        Times size = first.size(widened(first.bend(t0, y, a, finite_f0, y1, f1)));
        const Times bad = widened(lost);
        for (int i = 0; i < C; i++) size.part[i] += bad.part[i];
        return size;
    }
};
