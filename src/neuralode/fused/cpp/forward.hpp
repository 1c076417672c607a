// The adaptive solve: blocks of lanes, each lane with a sample's own time, step size, acceptance and end. A lane whose
// sample has ended takes the next one. What is decided, and by which rules, is as in engine/device_step.py.

// A block of lanes at work.
struct Block {
    const Call& call;
    Queue& queue;
    Tape* tape;
    Heap<V> y, y1, a, out;
    Heap<V> k;  // stages, N each
    Times t = {}, h = {}, size = {}, ceiling = {}, past0 = {}, past1 = {}, t1 = {}, end = {}, sign = {}, floor0 = {};
    Times due = {};  // sign times each lane's next output
    Marks running = {}, accept = {}, stops = {}, accepted = {}, tried = {};
    V step = {};
    int64_t sample[L], cursor[L], extra[L], alive = 0;
    Record* last[L];
    const double log_safety = std::log(call.safety), widest = std::log(1e10), clip = std::log(1e4);

    Block(const Call& c, Queue& q, Tape* p)
        : call(c), queue(q), tape(p), y(N), y1(N), a(A + 1), out(N), k((STAGES + EXTRA) * N) {
        for (int l = 0; l < L; l++) sample[l] = -1, sign[l] = 1;
    }

    double time_of(int64_t i, int64_t b) const { return call.times[i * call.time_row + b * call.time_column]; }
    double grid_of(int64_t i, int64_t b) const { return call.grid[i * call.grid_row + b * call.grid_column]; }

    // Give every idle lane a sample.
    void refill() {
        for (int l = 0; l < L; l++)
            while (!running[l] && !queue.empty()) load(l, queue.at++);
    }

    void load(int l, int64_t b) {
        const int64_t local = b - queue.begin;
        sample[l] = b, accepted[l] = tried[l] = extra[l] = cursor[l] = 0, last[l] = nullptr;
        for (int n = 0; n < N; n++) y[n][l] = call.y0[b * N + n], k[n][l] = queue.slopes[local * N + n];
        for (int n = 0; n < A; n++) a[n][l] = call.args[b * A + n];
        t[l] = call.t0[b], end[l] = call.t1[b], sign[l] = call.sign[b], h[l] = 0, size[l] = queue.sizes[local];
        floor0[l] = NEAR_ZERO * std::fmax(std::fabs(t[l]), std::fabs(end[l]));
        ceiling[l] = call.largest, past0[l] = past1[l] = 0;
        for (; cursor[l] < call.outputs && !(sign[l] * time_of(cursor[l], b) > sign[l] * t[l]); cursor[l]++)
            for (int n = 0; n < N; n++) call.ys[(cursor[l] * call.samples + b) * N + n] = call.y0[b * N + n];
        call.before[b] = cursor[l];
        expect(l);
        running[l] = -1, alive++;
        if (!std::isfinite(size[l])) finish(l, FIRST_NONFINITE);
        else if (t[l] == end[l]) finish(l, SUCCESS);
    }

    void expect(int l) {
        const bool more = cursor[l] < call.outputs;
        due[l] = more ? sign[l] * time_of(cursor[l], sample[l]) : std::numeric_limits<double>::infinity();
    }

    void finish(int l, int64_t status) {
        const int64_t b = sample[l];
        for (int n = 0; n < N; n++) call.y1[b * N + n] = y[n][l];
        call.status[b] = status, call.t[b] = t[l], call.h[b] = h[l], call.accepted[b] = accepted[l];
        call.rejected[b] = call.grid_steps ? 0 : tried[l] - accepted[l];
        call.nfev[b] += tried[l] * EVALUATIONS + extra[l];
        if (call.last) call.last[b] = last[l];
        running[l] = 0, alive--, h[l] = 0, t1[l] = t[l];
        due[l] = std::numeric_limits<double>::infinity();
    }

    // The steps to try: h and t1.
    void choose() {
        if (call.grid_steps) {
            for (int l = 0; l < L; l++)
                if (running[l]) t1[l] = grid_of(tried[l] + 1, sample[l]), h[l] = t1[l] - t[l];
            return;
        }
        for (int i = 0; i < C; i++) {
            const VD left = sign.part[i] * (end.part[i] - t.part[i]);
            VD s = size.part[i] > call.max_step ? BD(call.max_step) : size.part[i];
            const auto ends = s >= left;
            s = 2 * s > left ? left / 2 : s;
            const auto over = sign.part[i] * (t.part[i] + sign.part[i] * left - end.part[i]) > 0;
            const VD whole = over ? (VD)(bits(left) - 1) : left;
            h.part[i] = running.part[i] ? sign.part[i] * (ends ? whole : s) : VD{};
            t1.part[i] = running.part[i] & ends ? end.part[i] : t.part[i] + h.part[i];
        }
    }

    // Judge the trial step of every lane and choose the next size, as control/step_control.py does.
    void judge(const Times& ratio) {
        for (int i = 0; i < C; i++) {
            const VD r = ratio.part[i], step = magnitude(h.part[i]), here = magnitude(t.part[i]);
            const ID on = running.part[i], ok = (r <= 1) & on;
            const VD log_ratio = logarithm(r < 1e10 ? (r < 1e-10 ? BD(1e-10) : r) : BD(1e10));
            const VD aimed = between(log_ratio - call.k * log_safety, BD(-widest), BD(widest));
            const VD grow = call.exponent[0] * aimed + call.exponent[1] * past0.part[i] + call.exponent[2] * past1.part[i];
            VD factor = exponential(ok ? grow : log_safety - log_ratio / call.k);
            factor = between(factor, BD(call.smallest), ok ? ceiling.part[i] : BD(1));
            past1.part[i] = ok ? past0.part[i] : past1.part[i];
            past0.part[i] = ok ? between(aimed, BD(-clip), BD(clip)) : past0.part[i];
            ceiling.part[i] = ok ? BD(call.largest) : BD(1);
            VD next = factor * step;
            const ID shortened = (step < size.part[i]) & ok & (factor >= 1);
            next = shortened & (size.part[i] > next) ? size.part[i] : next;
            const VD tiny = 4 * EPS * (here > floor0.part[i] ? here : floor0.part[i]);
            const VD least = tiny < call.min_step ? BD(call.min_step) : tiny;
            size.part[i] = on ? next : size.part[i];
            const ID stuck = ok ? (t1.part[i] == t.part[i]) & (next <= step) : (next < least);
            const ID small = (r - r == 0) | ok | (step < least);
            stops.part[i] = on & stuck ? small ? ID{} + STEP_TOO_SMALL : ID{} + NONFINITE : ID{};
            accept.part[i] = ok;
        }
    }

    void judge_given() {
        M finite = ~M{};
        for (int n = 0; n < N; n++) finite &= y1[n] - y1[n] == 0;
        for (int l = 0; l < L; l++) {
            accept[l] = running[l] && finite[l] ? -1 : 0;
            stops[l] = running[l] && !finite[l] ? NONFINITE : SUCCESS;
        }
    }

    void record(int l, int64_t stop) {
        Record* r = tape->add();
        r->prev = last[l], r->t = t[l], r->h = h[l], r->t1 = t1[l], r->first = cursor[l], r->count = stop - cursor[l];
        for (int n = 0; n < N; n++) r->y[n] = y[n][l];
        last[l] = r;
    }

    // Outputs of the accepted steps, and their records.
    void keep() {
        Marks hit;
        for (int i = 0; i < C; i++) hit.part[i] = accept.part[i] & (due.part[i] <= sign.part[i] * t1.part[i]);
        const bool outputs = hit.any();
        if (!outputs && !tape) return;
        int64_t stop[L];
        bool inside = false;
        for (int l = 0; l < L; l++) {
            stop[l] = cursor[l];
            if (hit[l]) {
                const int64_t b = sample[l];
                const double to = sign[l] * t1[l];
                while (stop[l] < call.outputs && !(sign[l] * time_of(stop[l], b) > to)) stop[l]++;
                const bool within = time_of(cursor[l], b) != t1[l];
                inside |= within;
                extra[l] += within ? EXTRA : 0;
            }
            if (tape && accept[l]) record(l, stop[l]);
        }
        if (outputs) write(stop, inside);
    }

    void write(const int64_t* stop, bool inside) {
        if (inside && EXTRA) extra_stages(t, h, step, y, a, call.shared, k);
        for (bool more = true; more;) {
            more = false;
            Times theta = {};
            for (int l = 0; l < L; l++) {
                if (cursor[l] >= stop[l]) continue;
                const double time = time_of(cursor[l], sample[l]);
                theta[l] = time == t1[l] ? 1.0 : (time - t[l]) / h[l];
                more = true;
            }
            if (!more) break;
            if (inside) dense(theta, step, y, k, out);
            for (int l = 0; l < L; l++) {
                if (cursor[l] >= stop[l]) continue;
                const V* from = theta[l] == 1.0 ? y1 : out;
                T* to = call.ys + (cursor[l]++ * call.samples + sample[l]) * N;
                for (int n = 0; n < N; n++) to[n] = from[n][l];
                expect(l);
            }
        }
    }

    // Move the lanes whose step was accepted; true if a lane has ended.
    bool advance() {
        const M moves = narrowed(accept);
        for (int n = 0; n < N; n++) y[n] = moves ? y1[n] : y[n];
        if (FSAL)
            for (int n = 0; n < N; n++) k[n] = moves ? k[(STAGES - 1) * N + n] : k[n];
        Marks ends;
        for (int i = 0; i < C; i++) {
            accepted.part[i] -= accept.part[i], tried.part[i] -= running.part[i];
            const ID failed = stops.part[i] != 0, done = accept.part[i] & (t1.part[i] == end.part[i]);
            ends.part[i] = running.part[i] & (failed | done | (tried.part[i] >= call.max_steps));
            const ID clock = call.grid_steps ? running.part[i] : accept.part[i];
            t.part[i] = clock ? t1.part[i] : t.part[i];
        }
        if (!ends.any()) return false;
        for (int l = 0; l < L; l++)
            if (ends[l]) finish(l, stops[l] ? stops[l] : accept[l] && t1[l] == end[l] ? SUCCESS : MAX_STEPS);
        return true;
    }

    void attempt() {
        choose();
        step = rounded(h);
        stages(t, h, step, y, a, call.shared, k, y1);
    }

    void settle() {
        if (call.grid_steps) judge_given();
        else judge(error_ratio(step, y, y1, k, T(call.rtol), T(call.atol)));
        keep();
        if (advance()) refill();
    }
};

// Solve all samples of the queue. Where f is cheap a step is a chain of dependent operations, which leaves the CPU
// idle: two blocks in turn fill each other's gaps.
static void work(const Call& call, Queue& queue, Tape* tape) {
    Block one(call, queue, tape);
    one.refill();
    if (CHEAP && call.samples > L) {
        Block two(call, queue, tape);
        two.refill();
        while (one.alive && two.alive) {
            one.attempt();
            two.attempt();
            one.settle();
            two.settle();
        }
        while (two.alive) two.attempt(), two.settle();
    }
    while (one.alive) one.attempt(), one.settle();
}

extern "C" int forward(const Call* call) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    const int threads = int(call->threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int i = 0; i < threads; i++) {
        try {
            Queue queue(*call, next);
            Tape* tape = call->tapes ? (call->tapes[i] = new Tape) : nullptr;
            work(*call, queue, tape);
        } catch (...) {
            failed = true;
        }
    }
    return failed;
}

extern "C" void release(Tape** tapes, int64_t count) {
    for (int64_t i = 0; i < count; i++) delete tapes[i];
}

// f of each sample at its t0, into y1: for the checks.
extern "C" int evaluate(const Call* call) {
    Heap<V> y(N), a(A + 1), out(N);
    for (int64_t first = 0; first < call->samples; first += L) {
        Times t;
        for (int l = 0; l < L; l++) {
            const int64_t b = first + l < call->samples ? first + l : first;
            for (int n = 0; n < N; n++) y[n][l] = call->y0[b * N + n];
            for (int n = 0; n < A; n++) a[n][l] = call->args[b * A + n];
            t[l] = call->t0[b];
        }
        field(rounded(t), y, a, call->shared, out);
        for (int l = 0; l < L && first + l < call->samples; l++)
            for (int n = 0; n < N; n++) call->y1[(first + l) * N + n] = out[n][l];
    }
    return 0;
}
