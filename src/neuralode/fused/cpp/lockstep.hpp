// A batch in lockstep: one time, step size and acceptance for all samples, every one of them within tolerance. What is
// decided, and by which rules, is as in engine/host_step.py. Blocks of lanes stay where they are for the whole solve: a
// step is tried on all of them, then kept by all of them.

constexpr int64_t ENOUGH = 1 << 18;  // vector operations of a step that several threads share: they meet twice in it
constexpr int64_t RUNNING = 1;

// The largest of many numbers; NaN where one is.
struct Largest {
    V most = {};
    M lost = {};
    void add(V x) { most = greater(most, x), lost |= x != x; }
    T value() const {
        T found = 0;
        for (int l = 0; l < L; l++) {
            if (lost[l]) return std::numeric_limits<T>::quiet_NaN();
            found = most[l] > found ? most[l] : found;
        }
        return found;
    }
};

static inline Times everywhere(double x) {
    Times out;
    for (int i = 0; i < C; i++) out.part[i] = BD(x);
    return out;
}

// The lanes of the clock are all alike.
struct Batch : Clock {
    static constexpr int64_t SLOPES = (STAGES + EXTRA) * N;
    Shelf* rows = nullptr;
    const int64_t blocks = (call.samples + L - 1) / L;
    const int threads = blocks * OPERATIONS * EVALUATIONS < ENOUGH ? 1 : int(call.threads);
    Heap<V> here, there, a, k;
    V *y = here, *y1 = there;
    V width = {};
    std::vector<Log*> logs;
    int64_t cursor = 0, evaluations = 0, tried = 0, accepted = 0, worst = -1;
    double lost_at = 0, lost_by = 0;  // where given steps ended with a state that is not finite, and the step
    bool moved = false;  // y is where the step led that k is of

    explicit Batch(const Call& c)
        : Clock(c), here(blocks * N), there(blocks * N), a(blocks * A + 1), k(blocks * SLOPES) {
        for (int l = 0; l < L; l++) set(l, 0, 0);
        if (call.tapes) record();
    }

    // A log for each block; threads of the reverse sweep have the samples that they have there.
    void record() {
        for (int i = 0; i < call.threads; i++) call.tapes[i] = new Tape;
        rows = &call.tapes[0]->common;
        for (int64_t b = 0; b < blocks; b++) {
            Log* log = call.tapes[b * L / CHUNK % call.threads]->add(call.memory, blocks, rows);
            for (int l = 0; l < L; l++) {
                log->used[l] = l < filled(b) ? -1 : 0;
                if (l < filled(b)) log->enter(l, b * L + l);
            }
            logs.push_back(log);
        }
    }

    // body(block, its y, y1, arguments and slopes).
    template <class Body> auto in_block(int64_t b, Body body) {
        return body(b, y + b * N, y1 + b * N, a + b * A, k + b * SLOPES);
    }

    template <class Body> void each(Body body) {
        std::atomic<bool> failed{false};
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
        for (int64_t b = 0; b < blocks; b++) {
            try {
                in_block(b, body);
            } catch (const std::bad_alloc&) {
                failed = true;
            }
        }
        if (failed) throw std::bad_alloc();
    }

    // The largest of what body hands back, a number a lane.
    template <class Body> T largest(Body body) {
        Largest all;
#pragma omp parallel num_threads(threads) if (threads > 1)
        {
            Largest own;
#pragma omp for schedule(static) nowait
            for (int64_t b = 0; b < blocks; b++) own.add(in_block(b, body));
#pragma omp critical
            all.add(own.most), all.lost |= own.lost;
        }
        return all.value();
    }

    // The sample of the largest; NaN is larger than any number.
    template <class Body> int64_t place_of_largest(Body body) {
        int64_t found = 0;
        double most = -1;
        for (int64_t b = 0; b < blocks; b++) {
            const V x = in_block(b, body);
            for (int l = 0; l < filled(b); l++) {
                const double size = x[l] != x[l] ? INFINITE : x[l];
                if (size > most) most = size, found = b * L + l;
            }
        }
        return found;
    }

    // Lanes of a block that hold a sample; the others repeat the last one.
    int filled(int64_t b) const { return int(std::min<int64_t>(L, call.samples - b * L)); }

    void unload(int64_t b, const V* from, T* to) const {
        for (int l = 0; l < filled(b); l++)
            for (int n = 0; n < N; n++) to[(b * L + l) * N + n] = from[n][l];
    }

    void load() {
        each([&](int64_t b, V* y, V*, V* a, V* k) {
            for (int l = 0; l < L; l++) {
                const int64_t s = std::min(b * L + l, call.samples - 1);
                for (int n = 0; n < N; n++) y[n][l] = call.y0[s * N + n];
                for (int n = 0; n < A; n++) a[n][l] = call.args[s * A + n];
            }
            if (FSAL) slope(rounded(t), y, a, call.shared, k);
        });
        evaluations += FSAL;
        for (; cursor < call.outputs && !(clock_of(cursor) > now[0]); cursor++)
            memcpy((void*)(call.ys + cursor * call.samples * N), call.y0, call.samples * N * sizeof(T));
        for (int64_t s = 0; s < call.samples; s++) call.before[s] = cursor;
    }

    // NaN where f0 of some sample is not finite.
    double first_size() {
        if (now[0] == end[0] || call.grid_steps) return 1;
        if (call.first_step > 0) return call.first_step;
        FirstStep first(call, everywhere(end[0] - now[0]), sign);
        if (!FSAL) each([&](int64_t, V* y, V*, V* a, V* k) { slope(rounded(t), y, a, call.shared, k); });
        evaluations += !FSAL;
        const T d0 = largest([&](int64_t, V* y, V* y1, V* a, V* k) {
            V size, speed;
            first.norms(y, a, k, y1, size, speed);
            return size;
        });
        const auto speeds = [&](int64_t, V* y, V* y1, V* a, V* k) {
            V size, speed;
            const V lost = first.norms(y, a, k, y1, size, speed);
            return speed + lost;
        };
        const T d1 = largest(speeds);
        if (d1 != d1) return worst = place_of_largest(speeds), NEVER;
        first.guess(everywhere(d0), everywhere(d1));
        evaluations++;
        const T d2 = largest([&](int64_t, V* y, V* y1, V* a, V* k) {
            return first.bend(t, y, a, k, y1, k + SLOPES - N);
        });
        return first.size(everywhere(d2))[0];
    }

    void given() {
        for (int l = 0; l < L; l++) {
            next[l] = sign[l] * grid_of(tried + 1, 0);
            step[l] = next[l] - now[l];
        }
    }

    void attempt() {
        if (call.grid_steps) given();
        choose();
        width = rounded(h);
        ratio = B(largest([&](int64_t b, V* y, V* y1, V* a, V* k) {
            if (FSAL && moved) std::copy(k + (STAGES - 1) * N, k + STAGES * N, k);
            stages<HOLDING>(t, h, width, y, a, call.shared, k, y1, place(rows ? logs[b] : nullptr));
            return call.grid_steps ? finiteness(y1) : error_ratio(width, y, y1, k, a, T(call.rtol), T(call.atol));
        }));
        moved = false, evaluations += EVALUATIONS, tried++;
    }

    // Zero, or NaN.
    static V finiteness(const V* y) {
        V sum = {};
        for (int n = 0; n < N; n++) sum += y[n] - y[n];
        return sum;
    }

    // A given step is taken, whatever comes of it.
    void accept() {
        if (ratio[0] != ratio[0] && !lost_by) lost_at = sign[0] * next[0], lost_by = h[0];
        ok = ~M{};
    }

    // One trial step: RUNNING, or how the solve ends.
    int64_t advance() {
        attempt();
        if (call.grid_steps) accept();
        else control();
        if (ok[0]) keep();
        const int64_t failed = call.grid_steps ? SUCCESS : failure(0);
        if (failed) return failed;
        if (ok[0] && now[0] == end[0]) return SUCCESS;
        return tried >= call.max_steps ? MAX_STEPS : RUNNING;
    }

    double clock_of(int64_t i) const { return sign[0] * call.times[i * call.time_row]; }

    // The accepted step's outputs and its record; y is then where it led.
    void keep() {
        int64_t stop = cursor;
        while (stop < call.outputs && clock_of(stop) <= next[0]) stop++;
        const bool inside = stop > cursor && clock_of(cursor) < next[0];
        const bool whole = inside || call.knot_k;
        if (rows || call.knots || stop > cursor)
            each([&](int64_t b, V* y, V* y1, V* a, V* k) {
                if (rows) logs[b]->keep(y, k);
                if (whole && EXTRA) extra_stages(t, h, width, y, a, call.shared, k);
                if (stop > cursor) write(b, stop, y, y1, k);
                for (int l = 0; call.knots && l < filled(b); l++) put_knot(call, accepted, b * L + l, l, t, h, y, k);
            });
        if (rows) *(Row*)rows->add() = {t, h};
        if (whole) evaluations += EXTRA;
        cursor = stop, moved = true, now = next, accepted++;
        std::swap(y, y1);
    }

    void write(int64_t b, int64_t stop, const V* y, const V* y1, const V* k) const {
        V out[N];
        for (int64_t i = cursor; i < stop; i++) {
            const double theta = (clock_of(i) - now[0]) / step[0];
            const bool inside = clock_of(i) < next[0];
            if (inside) dense(B(T(theta)), B(T(1 - theta)), width, y, k, out);
            unload(b, inside ? out : y1, call.ys + i * call.samples * N);
        }
    }

    void finish(int64_t status) {
        if (status < 0 && status != FIRST_NONFINITE && !call.grid_steps) blame();
        if (status == MAX_STEPS && call.grid_steps) given();  // the step that is not taken any more
        double time = sign[0] * now[0], last = sign[0] * step[0];
        if (status == SUCCESS && lost_by) status = NONFINITE, time = lost_at, last = lost_by;
        if (status == SUCCESS) time = call.t1[0];
        each([&](int64_t b, V* y, V*, V*, V*) { unload(b, y, call.y1); });
        for (int64_t s = 0; s < call.samples; s++) {
            call.status[s] = status, call.t[s] = time, call.h[s] = last, call.accepted[s] = accepted;
            call.rejected[s] = tried - accepted, call.nfev[s] = evaluations;
        }
        for (int64_t b = 0; b < int64_t(logs.size()); b++)
            for (int l = 0; l < filled(b); l++) logs[b]->leave(l, cursor, now[0]);
        *call.worst = worst;
    }

    // The sample with the largest error in the last trial step.
    void blame() {
        if (moved) std::swap(y, y1);
        worst = place_of_largest([&](int64_t, V* y, V* y1, V* a, V* k) {
            return error_ratio(width, y, y1, k, a, T(call.rtol), T(call.atol));
        });
        if (moved) std::swap(y, y1);
    }

    void run() {
        load();
        const double first = first_size();
        size = everywhere(first);
        if (!std::isfinite(first)) return finish(FIRST_NONFINITE);
        int64_t status = now[0] == end[0] ? SUCCESS : RUNNING;
        while (status == RUNNING) status = advance();
        finish(status);
    }
};

extern "C" int forward(const Call* call) {
    try {
        Batch(*call).run();
    } catch (...) {
        return NO_MEMORY;
    }
    return verdict(*call);
}
