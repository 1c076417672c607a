// The reverse sweep: each lane walks the records of a sample from the last to the first and pulls cotangents back
// through every stage. Exact for the steps taken; their sizes are held constant.

struct Sweep {
    int64_t samples, outputs, threads, time_row, time_column, tensors;
    const double *t0, *times;
    const T *y0, *args;
    const T* const* shared;
    const T *grad_ys, *grad_y1;
    Record** last;
    const int64_t *before, *sizes, *by_lane;
    T *grad_y0, *grad_args, *slope_bar;
    double* const* grad_shared;  // a row for each thread
};

// Sums over steps and samples of the gradients of shared tensors: in T for a while, then into double.
struct Totals {
    static constexpr int PATIENCE = 64;
    const Sweep& sweep;
    const int thread;
    T** part;
    int steps = 0;

    int64_t size(int64_t j) const { return sweep.sizes[j] * (sweep.by_lane[j] ? L : 1); }
    Totals(const Sweep& s, int i) : sweep(s), thread(i), part((T**)calloc(s.tensors + 1, sizeof(T*))) {
        for (int64_t j = 0; j < s.tensors; j++) {
            part[j] = (T*)aligned_alloc(64, (size(j) * sizeof(T) + 64) / 64 * 64);
            if (!part[j]) throw std::bad_alloc();
            memset(part[j], 0, size(j) * sizeof(T));
        }
    }
    ~Totals() {
        for (int64_t j = 0; j < sweep.tensors; j++) free(part[j]);
        free(part);
    }
    void count() {
        if (++steps % PATIENCE == 0) flush();
    }
    void flush() {
        for (int64_t j = 0; j < sweep.tensors; j++) {
            double* total = sweep.grad_shared[j] + thread * sweep.sizes[j];
            const int width = sweep.by_lane[j] ? L : 1;
            for (int64_t i = 0; i < sweep.sizes[j]; i++)
                for (int l = 0; l < width; l++) total[i] += part[j][i * width + l];
            memset(part[j], 0, size(j) * sizeof(T));
        }
    }
};

struct Back {
    const Sweep& sweep;
    Totals& totals;
    int64_t next, stop;
    Heap<V> y, y1, a, k, k_bar, y_bar, end_bar, slope_bar, a_bar, out_bar;
    Times t = {}, h = {};
    int64_t sample[L];
    Record* record[L];
    int alive = 0;

    Back(const Sweep& s, Totals& g, int64_t from, int64_t to)
        : sweep(s), totals(g), next(from), stop(to), y(N), y1(N), a(A + 1), k((STAGES + EXTRA) * N),
          k_bar((STAGES + EXTRA) * N), y_bar(N), end_bar(N), slope_bar(N), a_bar(A + 1), out_bar(N) {
        for (int l = 0; l < L; l++) record[l] = nullptr, sample[l] = -1;
        for (int l = 0; l < L && from < to; l++) read(l, from);  // idle lanes work on something finite
    }

    double time_of(int64_t i, int64_t b) const { return sweep.times[i * sweep.time_row + b * sweep.time_column]; }
    const T* seed(int64_t i, int64_t b) const { return sweep.grad_ys + (i * sweep.samples + b) * N; }

    void read(int l, int64_t b) {
        for (int n = 0; n < N; n++) y[n][l] = sweep.y0[b * N + n];
        for (int n = 0; n < A; n++) a[n][l] = sweep.args[b * A + n];
        t[l] = sweep.t0[b];
    }

    void refill() {
        for (int l = 0; l < L; l++)
            while (!record[l] && next < stop) {
                const int64_t b = next++;
                sample[l] = b, record[l] = sweep.last[b];
                read(l, b);
                for (int n = 0; n < N; n++)
                    end_bar[n][l] = sweep.grad_y1 ? sweep.grad_y1[b * N + n] : T(0), slope_bar[n][l] = 0;
                for (int n = 0; n < A; n++) a_bar[n][l] = 0;
                if (record[l]) alive++;
                else finish(l);
            }
        for (int l = 0; l < L; l++) {
            if (!record[l]) continue;
            t[l] = record[l]->t, h[l] = record[l]->h;
            for (int n = 0; n < N; n++) y[n][l] = record[l]->y[n];
        }
    }

    void finish(int l) {
        const int64_t b = sample[l];
        for (int n = 0; n < N; n++) {
            T total = end_bar[n][l];
            for (int64_t i = 0; sweep.grad_ys && i < sweep.before[b]; i++) total += seed(i, b)[n];
            sweep.grad_y0[b * N + n] = total;
            sweep.slope_bar[b * N + n] = slope_bar[n][l];
            end_bar[n][l] = slope_bar[n][l] = 0;
        }
        for (int n = 0; n < A; n++) sweep.grad_args[b * A + n] = a_bar[n][l], a_bar[n][l] = 0;
    }

    // Cotangents of the outputs in the steps: those at a step's end go to y1, others to y and the stages.
    bool outputs(V step) {
        memset((void*)k_bar.data, 0, sizeof(V) * (STAGES + EXTRA) * N);
        memset((void*)y_bar.data, 0, sizeof(V) * N);
        if (!sweep.grad_ys) return false;
        bool inside = false;
        int64_t place[L];
        for (int l = 0; l < L; l++) place[l] = 0;
        for (bool more = true; more;) {
            more = false;
            Times theta = {};
            memset((void*)out_bar.data, 0, sizeof(V) * N);
            for (int l = 0; l < L; l++) {
                if (!record[l] || place[l] >= record[l]->count) continue;
                const int64_t i = record[l]->first + place[l]++, b = sample[l];
                const bool end = time_of(i, b) == record[l]->t1;
                V* to = end ? end_bar : out_bar;
                if (!end) theta[l] = (time_of(i, b) - t[l]) / h[l], more = true;
                for (int n = 0; n < N; n++) to[n][l] += seed(i, b)[n];
                if (end && place[l] < record[l]->count) more = true;
            }
            if (!more) break;
            inside = true;
            V weight[DENSE];
            dense_weights(theta, weight);
            for (int n = 0; n < N; n++) {
                const V rise = step * out_bar[n];
                y_bar[n] += out_bar[n];
                for (int i = 0; i < DENSE; i++) k_bar[DENSE_STAGE[i] * N + n] += weight[i] * rise;
            }
        }
        return inside;
    }

    void run() {
        for (refill(); alive; refill()) {
            const V step = rounded(h);
            if (FSAL) field(stage_time(t, h, 0.0), y, a, sweep.shared, k);
            stages(t, h, step, y, a, sweep.shared, k, y1);
            const bool inside = outputs(step);
            if (inside && EXTRA) extra_stages(t, h, step, y, a, sweep.shared, k);
            if (FSAL)
                for (int n = 0; n < N; n++) k_bar[(STAGES - 1) * N + n] += slope_bar[n];
            step_vjp(t, h, step, y, a, sweep.shared, k, end_bar, k_bar, y_bar, a_bar, totals.part, inside);
            totals.count();
            for (int n = 0; n < N; n++) {
                end_bar[n] = y_bar[n];
                if (FSAL) slope_bar[n] = k_bar[n];
            }
            for (int l = 0; l < L; l++)
                if (record[l] && !(record[l] = record[l]->prev)) finish(l), alive--;
        }
    }

    // The slope at (t0, y0), which the first steps of methods that hand on their last stage begin with.
    void first_slopes(int64_t from, int64_t to) {
        for (int64_t first = from; FSAL && first < to; first += L) {
            for (int l = 0; l < L; l++) {
                const int64_t b = first + l < to ? first + l : first;
                read(l, b);
                for (int n = 0; n < N; n++) slope_bar[n][l] = first + l < to ? sweep.slope_bar[b * N + n] : T(0);
                for (int n = 0; n < A; n++) a_bar[n][l] = 0;
            }
            field_vjp(rounded(t), y, a, sweep.shared, slope_bar, y_bar, a_bar, totals.part);
            totals.count();
            for (int l = 0; l < L && first + l < to; l++) {
                for (int n = 0; n < N; n++) sweep.grad_y0[(first + l) * N + n] += y_bar[n][l];
                for (int n = 0; n < A; n++) sweep.grad_args[(first + l) * A + n] += a_bar[n][l];
            }
        }
        totals.flush();
    }
};

extern "C" int reverse(const Sweep* sweep) {
    std::atomic<bool> failed{false};
    const int threads = int(sweep->threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int i = 0; i < threads; i++) {
        const int64_t from = sweep->samples * i / threads, to = sweep->samples * (i + 1) / threads;
        try {
            Totals totals(*sweep, i);
            Back back(*sweep, totals, from, to);
            back.run();
            back.first_slopes(from, to);
        } catch (...) {
            failed = true;
        }
    }
    return failed;
}
