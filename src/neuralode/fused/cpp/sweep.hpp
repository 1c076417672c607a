// What the reverse sweep is given, the sums that it makes, and the states that it starts from.

struct Sweep {
    int64_t samples, outputs, threads, time_row, time_column, knots;
    const double *t0, *sign, *times;
    const T *y0, *args;
    const T* const* shared;
    const T *grad_ys, *grad_y1, *grad_knot_y, *grad_knot_k;
    Tape** tapes;
    const int64_t *before, *accepted;
    T *grad_y0, *grad_args, *slope_bar, *grad_shared;  // grad_shared: one tensor after the other
};

// A thread's sums over steps and samples of the gradients of shared tensors: in T for a while, then into double.
struct Totals {
    static constexpr int PATIENCE = 64;
    T* part[TENSORS + 1] = {};
    double* const totals;
    int steps = 0;

    static int64_t room(int j) { return SIZES[j] * (BY_LANE[j] ? L : 1) * sizeof(T); }
    explicit Totals(double* to) : totals(to) {
        for (int j = 0; j < TENSORS; j++) {
            part[j] = (T*)aligned_alloc(64, (room(j) + 64) / 64 * 64);
            if (!part[j]) throw std::bad_alloc();
            memset(part[j], 0, room(j));
        }
    }
    ~Totals() {
        for (T* each : part) free(each);
    }
    void count() {
        if (++steps % PATIENCE == 0) flush();
    }
    void flush() {
        double* total = totals;
        for (int j = 0; j < TENSORS; j++) {
            for (int64_t i = 0; i < SIZES[j]; i++)
                *total++ += BY_LANE[j] ? lane_sum(widened(((V*)part[j])[i])) : double(part[j][i]);
            memset(part[j], 0, room(j));
        }
    }
};

// The states at the steps of a log, and their first slopes: as they are kept, or a stretch at a time, recomputed.
struct Stretch {
    const Sweep& sweep;
    const Log& log;
    Heap<V> states, a, y1, k;
    int64_t begin = -1;

    Stretch(const Sweep& s, const Log& g)
        : sweep(s), log(g), states(g.every > 1 ? g.every * Log::STATE : 1), a(A + 1), y1(N), k(STAGES * N) {}

    // ``visit``: the first that the sweep has left behind.
    const V* at(int64_t row, int64_t visit) {
        if (log.every == 1) return log.state(row);
        if (row / log.every * log.every != begin) recompute(row, visit);
        return states + (row - begin) * Log::STATE;
    }

    void recompute(int64_t row, int64_t visit) {
        begin = row / log.every * log.every;
        const V* kept = log.state(begin / log.every);
        for (int n = 0; n < Log::STATE; n++) states[n] = kept[n];
        bool known[L] = {};
        for (; visit > 0 && log.visit(visit - 1).row > begin; visit--) {}
        for (int64_t i = visit - 1; i >= 0 && !all(known); i--) arguments(log.visit(i), known);
        for (int64_t i = begin; i < row; i++) {
            V* y = states + (i - begin) * Log::STATE;
            follow(log.row(i), y, y + Log::STATE);
            for (; visit < log.visits.count && log.visit(visit).row == i + 1; visit++)
                start(log.visit(visit), y + Log::STATE);
        }
    }

    static bool all(const bool* known) {
        for (int l = 0; l < L; l++)
            if (!known[l]) return false;
        return true;
    }

    void arguments(const Visit& v, bool* known) {
        if (known[v.lane]) return;
        known[v.lane] = true;
        for (int n = 0; n < A; n++) a[n][v.lane] = sweep.args[v.sample * A + n];
    }

    // The step that the solve took, in the same bits.
    void follow(const Row& row, const V* y, V* after) {
        for (int n = 0; FSAL && n < N; n++) k[n] = y[N + n];
        stages<HOLDING>(row.t, row.h, rounded(row.h), y, a, sweep.shared, k, y1, place(nullptr));
        Marks moved;
        for (int i = 0; i < C; i++) moved.part[i] = row.h.part[i] != 0;
        const M ok = narrowed(moved);
        for (int n = 0; n < N; n++) after[n] = ok ? y1[n] : y[n];
        for (int n = 0; FSAL && n < N; n++) after[N + n] = ok ? k[(STAGES - 1) * N + n] : y[N + n];
    }

    void start(const Visit& v, V* y) {
        V t = {};
        const int64_t b = v.sample;
        t[v.lane] = T(sweep.t0[b]);
        for (int n = 0; n < A; n++) a[n][v.lane] = sweep.args[b * A + n];
        for (int n = 0; n < N; n++) y[n][v.lane] = sweep.y0[b * N + n];
        if (!FSAL) return;
        slope(t, y, a, sweep.shared, y1);
        for (int n = 0; n < N; n++) y[N + n][v.lane] = y1[n][v.lane];
    }
};
