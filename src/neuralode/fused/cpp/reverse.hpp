// The reverse sweep: a block of lanes walks the steps of its log from the last to the first and pulls cotangents back
// through every stage. Exact for the steps taken; their sizes are held constant.

struct Back {
    const Sweep& sweep;
    Totals& totals;
    const Log& log;
    Stretch stretch;
    Heap<V> y, y1, a, own_a, k, k_bar, y_bar, end_bar, whole_bar, slope_bar, a_bar, out_bar, values, bars;
    Times t = {}, h = {}, t1 = {}, due = {}, sign = {};  // due: the clock of the last output not yet met
    int64_t sample[L], cursor[L], number[L], top;

    Back(const Sweep& s, Totals& g, const Log& r)
        : sweep(s), totals(g), log(r), stretch(s, r), y(N), y1(N), a(A + 1), own_a(A + 1), k((STAGES + EXTRA) * N),
          k_bar((STAGES + EXTRA) * N), y_bar(N), end_bar(N), whole_bar(N), slope_bar(N), a_bar(A + 1), out_bar(N),
          values(VALUES + EXTRA * WIDTH), bars((EVALUATIONS + EXTRA) * BARS + 1), top(r.visits.count) {
        for (int l = 0; l < L; l++) enter(l, log.latest[l]);
    }

    double clock_of(int64_t i, int l) const {
        return sign[l] * sweep.times[i * sweep.time_row + sample[l] * sweep.time_column];
    }
    const T* seed(int64_t i, int64_t b) const { return sweep.grad_ys + (i * sweep.samples + b) * N; }

    // From the end of a visit, or nothing.
    void enter(int l, int64_t visit) {
        sample[l] = -1, due[l] = -INFINITE, sign[l] = 1, cursor[l] = 0;
        for (int n = 0; n < N; n++) end_bar[n][l] = slope_bar[n][l] = 0;
        for (int n = 0; n < A; n++) a_bar[n][l] = 0;
        if (visit < 0) return;
        const Visit& v = log.visit(visit);
        const int64_t b = sample[l] = v.sample;
        cursor[l] = v.outputs, number[l] = sweep.accepted[b], sign[l] = sweep.sign[b], t1[l] = v.end;
        for (int n = 0; n < N && sweep.grad_y1; n++) end_bar[n][l] = sweep.grad_y1[b * N + n];
        for (int n = 0; n < A; n++) own_a[n][l] = sweep.args[b * A + n];
        expect(l);
    }

    void expect(int l) {
        const bool more = sweep.grad_ys && cursor[l] > sweep.before[sample[l]];
        due[l] = more ? clock_of(cursor[l] - 1, l) : -INFINITE;
    }

    // Past the first step of a visit.
    void leave(const Visit& v) {
        const int l = v.lane;
        const int64_t b = v.sample;
        for (int n = 0; n < N; n++) {
            T total = end_bar[n][l];
            for (int64_t i = 0; sweep.grad_ys && i < sweep.before[b]; i++) total += seed(i, b)[n];
            sweep.grad_y0[b * N + n] = total;
            sweep.slope_bar[b * N + n] = slope_bar[n][l];
        }
        for (int n = 0; n < A; n++) sweep.grad_args[b * A + n] = a_bar[n][l];
        enter(l, v.before);
    }

    // Lanes that stood still repeat one that moved, so that all are finite; their cotangents are zero.
    void read(int64_t row, int l, M on) {
        const Row& r = log.row(row);
        for (int i = 0; i < C; i++) {
            const ID still = r.h.part[i] == 0;
            t.part[i] = still ? BD(r.t[l]) : r.t.part[i];
            h.part[i] = still ? BD(r.h[l]) : r.h.part[i];
        }
        for (int n = 0; n < A; n++) a[n] = on ? own_a[n] : B(own_a[n][l]);
    }

    // What the stages of a step have left, or would have.
    Values stages_of(int64_t row, Bits moves, M on, V step, bool inside) {
        const int l = lowest(moves);
        V* held = inside && EXTRA ? nullptr : log.held(row);
        if (held && moves == ALL) return {held, WIDTH};
        const M *from = (const M*)held;
        M* to = (M*)values.data;
        for (int n = 0; held && n < VALUES; n++) to[n] = on ? from[n] : from[n][l] - M{};
        if (!held) again(stretch.at(row, top), l, on, step, inside);
        return {values, WIDTH};
    }

    void again(const V* from, int l, M on, V step, bool inside) {
        for (int n = 0; n < N; n++) y[n] = on ? from[n] : B(from[n][l]);
        for (int n = 0; FSAL && n < N; n++) k[n] = on ? from[N + n] : B(from[N + n][l]);
        stages<true>(t, h, step, y, a, sweep.shared, k, y1, {values, WIDTH});
        if (inside && EXTRA) extra_values(t, h, step, y, a, sweep.shared, k, {values, WIDTH});
    }

    // Cotangents of the outputs in the steps: those at a step's end go to y1, others to y and the stages.
    bool outputs(V step, const Marks& moved) {
        bool inside = false;
        while (true) {
            Marks marks;
            Times now, up, down;
            for (int i = 0; i < C; i++) {
                now.part[i] = sign.part[i] * t.part[i];
                marks.part[i] = moved.part[i] & (due.part[i] > now.part[i]);
                up.part[i] = (due.part[i] - now.part[i]) / (sign.part[i] * h.part[i]);
                up.part[i] = marks.part[i] ? up.part[i] : VD{};
                down.part[i] = 1 - up.part[i];
            }
            Bits hit = marks.bits();
            if (!hit) return inside;
            bool within = false;
            for (int n = 0; n < N; n++) out_bar[n] = V{};
            for (; hit; hit &= hit - 1) {
                const int l = lowest(hit);
                const bool ends = due[l] == t1[l];
                const T* from = seed(--cursor[l], sample[l]);
                V* to = ends ? whole_bar : out_bar;
                for (int n = 0; n < N; n++) to[n][l] += from[n];
                within |= !ends;
                expect(l);
            }
            if (within) spread(rounded(up), rounded(down), step);
            inside |= within;
        }
    }

    // Cotangents of the steps themselves; true if extra stages have some.
    bool knots(Bits moves) {
        for (; moves; moves &= moves - 1) {
            const int l = lowest(moves);
            const int64_t at = --number[l] * sweep.samples + sample[l];
            for (int n = 0; n < N; n++) y_bar[n][l] += sweep.grad_knot_y[at * N + n];
            for (int j = 0; sweep.grad_knot_k && j < DENSE; j++) {
                const T* from = sweep.grad_knot_k + (j * sweep.knots * sweep.samples + at) * N;
                for (int n = 0; n < N; n++) k_bar[DENSE_STAGE[j] * N + n][l] += from[n];
            }
        }
        return sweep.grad_knot_k && EXTRA;
    }

    void spread(V up, V down, V step) {
        V weight[DENSE];
        dense_weights(up, down, weight);
        for (int n = 0; n < N; n++) {
            const V rise = step * out_bar[n];
            y_bar[n] += out_bar[n];
            for (int i = 0; i < DENSE; i++) k_bar[DENSE_STAGE[i] * N + n] += weight[i] * rise;
        }
    }

    void back(int64_t row) {
        Marks moved;
        for (int i = 0; i < C; i++) moved.part[i] = (log.row(row).h.part[i] != 0) & log.used.part[i];
        const Bits moves = moved.bits();
        if (!moves) return;
        const M on = narrowed(moved);
        read(row, lowest(moves), on);
        const V step = rounded(h);
        memset((void*)k_bar.data, 0, sizeof(V) * (STAGES + EXTRA) * N);
        memset((void*)y_bar.data, 0, sizeof(V) * N);
        for (int n = 0; n < N; n++) whole_bar[n] = on ? end_bar[n] : V{};
        bool inside = outputs(step, moved);
        if (sweep.grad_knot_y) inside |= knots(moves);
        for (int n = 0; FSAL && n < N; n++) k_bar[(STAGES - 1) * N + n] += on ? slope_bar[n] : V{};
        const Values left = stages_of(row, moves, on, step, inside);
        step_vjp(t, h, step, a, sweep.shared, whole_bar, k_bar, y_bar, a_bar, totals.part, inside, left, bars);
        totals.count();
        for (int n = 0; n < N; n++) {
            end_bar[n] = on ? y_bar[n] : end_bar[n];
            if (FSAL) slope_bar[n] = on ? k_bar[n] : slope_bar[n];
        }
        for (int i = 0; i < C; i++) t1.part[i] = moved.part[i] ? sign.part[i] * t.part[i] : t1.part[i];
    }

    void run() {
        for (int64_t row = log.rows.count - 1; row >= 0; row--) {
            for (; top > 0 && log.visit(top - 1).row > row; top--) leave(log.visit(top - 1));
            back(row);
        }
        for (; top > 0; top--) leave(log.visit(top - 1));
    }
};

// The slopes at (t0, y0), which the first steps of methods that hand on their last stage begin with.
static void first_slopes(const Sweep& sweep, Totals& totals, int64_t from, int64_t to) {
    Heap<V> y(WIDTH), a(A + 1), slope_bar(N), y_bar(N), a_bar(A + 1), out(N), bars(BARS + 1);
    for (int64_t first = from; first < to; first += L) {
        int64_t good = -1;  // lanes without a cotangent repeat one with
        for (int64_t i = (first + L < to ? first + L : to) * N - 1; i >= first * N; i--)
            if (sweep.slope_bar[i] != 0) good = i / N;
        if (good < 0) continue;
        V t;
        for (int l = 0; l < L; l++) {
            bool used = false;
            for (int n = 0; n < N && first + l < to; n++) used |= sweep.slope_bar[(first + l) * N + n] != 0;
            const int64_t b = used ? first + l : good;
            for (int n = 0; n < N; n++) y[n][l] = sweep.y0[b * N + n];
            for (int n = 0; n < A; n++) a[n][l] = sweep.args[b * A + n], a_bar[n][l] = 0;
            for (int n = 0; n < N; n++) slope_bar[n][l] = used ? sweep.slope_bar[b * N + n] : T(0);
            t[l] = T(sweep.t0[b]);
        }
        field_kept(t, y, a, sweep.shared, out, y + N);
        field_vjp(t, y, a, sweep.shared, slope_bar, y_bar, a_bar, y + N, bars);
        field_sums(1, y, a, slope_bar, bars, totals.part);
        totals.count();
        for (int l = 0; l < L && first + l < to; l++) {
            for (int n = 0; n < N; n++) sweep.grad_y0[(first + l) * N + n] += y_bar[n][l];
            for (int n = 0; n < A; n++) sweep.grad_args[(first + l) * A + n] += a_bar[n][l];
        }
    }
}

extern "C" int reverse(const Sweep* sweep) {
    std::atomic<bool> failed{false};
    const int threads = int(sweep->threads);
    int64_t entries = 0;
    for (int j = 0; j < TENSORS; j++) entries += SIZES[j];
    std::unique_ptr<double[]> sums(new (std::nothrow) double[threads * entries]());
    if (!sums) return 1;
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int i = 0; i < threads; i++) {
        try {
            Totals totals(sums.get() + i * entries);
            const Tape* tape = sweep->tapes[i];
            for (const auto& log : tape->logs) Back(*sweep, totals, *log).run();
            for (int64_t j = i * CHUNK; FSAL && j < sweep->samples; j += threads * CHUNK)
                first_slopes(*sweep, totals, j, j + CHUNK < sweep->samples ? j + CHUNK : sweep->samples);
            totals.flush();
        } catch (...) {
            failed = true;
        }
    }
    for (int64_t n = 0; n < entries; n++) {
        double total = 0;
        for (int i = 0; i < threads; i++) total += sums[i * entries + n];
        sweep->grad_shared[n] = T(total);
    }
    return failed;
}
