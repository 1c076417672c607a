// The adaptive solve: blocks of lanes, each lane with a sample's own time, step size, acceptance and end. A lane whose
// sample has ended takes the next one. What is decided, and by which rules, is as in engine/device_step.py.
//
// Clocks run forward: they are times multiplied by the direction of integration. What most steps do not do (outputs,
// ends, failures) is found by one test for all lanes, then decided lane by lane. Idle lanes take steps of size 0 with
// an end that never comes.

constexpr double INFINITE = std::numeric_limits<double>::infinity(), NEVER = std::numeric_limits<double>::quiet_NaN();

// A block of lanes at work.
struct Block {
    const Call& call;
    Queue& queue;
    Log* log;
    Heap<V> y, y1, a, out;
    Heap<V> k;  // stages, N each
    Times t = {}, h = {}, sign = {};
    Times now = {}, next = {}, end = {}, step = {}, size = {}, due = {};  // due: of the next output
    Times least = {};  // a size below it may be too small
    Marks moved = {}, accepted = {};
    V width = {}, ratio = {}, past0 = {}, past1 = {}, ceiling = {};
    M ok = {};
    int64_t sample[L], cursor[L], extra[L], started[L], tries = 0, oldest = 0, alive = 0;
    double floor0[L];
    const T log_safety = T(std::log(call.safety)), aim = T(call.k * std::log(call.safety)), root_k = T(1 / call.k);
    const T widest = T(std::log(1e10)), clip = T(std::log(1e4));

    Block(const Call& c, Queue& q, Log* p)
        : call(c), queue(q), log(p), y(N), y1(N), a(A + 1), out(N), k((STAGES + EXTRA) * N) {
        for (int l = 0; l < L; l++) sign[l] = 1, rest(l);
    }

    double clock_of(int64_t i, int l) const {
        return sign[l] * call.times[i * call.time_row + sample[l] * call.time_column];
    }
    double grid_of(int64_t i, int64_t b) const { return call.grid[i * call.grid_row + b * call.grid_column]; }

    // Give every idle lane a sample.
    void refill() {
        for (int l = 0; l < L; l++)
            while (sample[l] < 0 && !queue.empty()) load(l, queue.at++);
        oldest = tries;
        for (int l = 0; l < L; l++)
            if (sample[l] >= 0 && started[l] < oldest) oldest = started[l];
    }

    void rest(int l) {
        sample[l] = -1, size[l] = step[l] = 0, end[l] = NEVER, due[l] = INFINITE, least[l] = -INFINITE;
    }

    void load(int l, int64_t b) {
        const int64_t local = b - queue.begin;
        sample[l] = b, accepted[l] = extra[l] = cursor[l] = 0, started[l] = tries, alive++;
        for (int n = 0; n < N; n++) y[n][l] = call.y0[b * N + n], k[n][l] = queue.slopes[local * N + n];
        for (int n = 0; n < A; n++) a[n][l] = call.args[b * A + n];
        sign[l] = call.sign[b], now[l] = sign[l] * call.t0[b], end[l] = sign[l] * call.t1[b];
        t[l] = call.t0[b], step[l] = 0, size[l] = queue.sizes[local];
        const double far = std::fmax(std::fabs(now[l]), std::fabs(end[l]));
        floor0[l] = NEAR_ZERO * far;
        least[l] = call.grid_steps ? 0.5 : std::fmax(4 * EPS * far, call.min_step);
        ceiling[l] = T(call.largest), past0[l] = past1[l] = 0;
        for (; cursor[l] < call.outputs && !(clock_of(cursor[l], l) > now[l]); cursor[l]++)
            for (int n = 0; n < N; n++) call.ys[(cursor[l] * call.samples + b) * N + n] = call.y0[b * N + n];
        call.before[b] = cursor[l];
        expect(l);
        if (log) log->enter(l, b);
        if (!std::isfinite(size[l])) finish(l, FIRST_NONFINITE, t[l]);
        else if (now[l] == end[l]) finish(l, SUCCESS, t[l]);
    }

    void expect(int l) { due[l] = cursor[l] < call.outputs ? clock_of(cursor[l], l) : INFINITE; }

    void finish(int l, int64_t status, double time) {
        const int64_t b = sample[l], tried = tries - started[l];
        for (int n = 0; n < N; n++) call.y1[b * N + n] = y[n][l];
        call.status[b] = status, call.t[b] = time, call.h[b] = sign[l] * step[l], call.accepted[b] = accepted[l];
        call.rejected[b] = call.grid_steps ? 0 : tried - accepted[l];
        call.nfev[b] += tried * EVALUATIONS + extra[l];
        if (log) log->leave(l, cursor[l], now[l]);
        rest(l), alive--;
    }

    // The steps to try.
    void choose() {
        if (call.grid_steps)
            for (int l = 0; l < L; l++)
                if (sample[l] >= 0) {
                    next[l] = sign[l] * grid_of(tries - started[l] + 1, sample[l]);
                    step[l] = next[l] - now[l];
                }
        for (int i = 0; i < C; i++) {
            if (!call.grid_steps) {
                const VD left = end.part[i] - now.part[i];
                VD s = size.part[i] > call.max_step ? BD(call.max_step) : size.part[i];
                const ID ends = s >= left;
                s = 2 * s > left ? left * 0.5 : s;
                const VD whole = now.part[i] + left > end.part[i] ? (VD)(bits(left) - 1) : left;
                step.part[i] = ends ? whole : s;
                next.part[i] = ends ? end.part[i] : now.part[i] + step.part[i];
            }
            t.part[i] = sign.part[i] * now.part[i], h.part[i] = sign.part[i] * step.part[i];
        }
    }

    // Judge the trial step of every lane and choose the next size, as control/step_control.py does.
    void judge() {
        ratio = error_ratio(width, y, y1, k, T(call.rtol), T(call.atol));
        ok = ratio <= 1;
        const V log_ratio = plain_logarithm(ratio < T(1e10) ? (ratio < T(1e-10) ? B(T(1e-10)) : ratio) : B(T(1e10)));
        const V aimed = between(log_ratio - aim, B(-widest), B(widest));
        const V grow = T(call.exponent[0]) * aimed + T(call.exponent[1]) * past0 + T(call.exponent[2]) * past1;
        V factor = small_exponential(between(ok ? grow : log_safety - log_ratio * root_k, B(-80), B(80)));
        factor = between(factor, B(T(call.smallest)), ok ? ceiling : B(1));
        past1 = ok ? past0 : past1;
        past0 = ok ? between(aimed, B(-clip), B(clip)) : past0;
        ceiling = ok ? B(T(call.largest)) : B(1);
        // A step that was shortened (to meet an end) and passed does not shrink the size.
        const Times by = widened(factor), held = widened(ok & (factor >= 1) ? B(1) : V{});
        for (int i = 0; i < C; i++) {
            const VD grown = by.part[i] * step.part[i], kept = held.part[i] * size.part[i];
            size.part[i] = grown < kept ? kept : grown;
        }
    }

    void judge_given() {
        ok = ~M{};
        for (int n = 0; n < N; n++) ok &= y1[n] - y1[n] == 0;
        size = widened(ok ? B(1) : V{});
    }

    // Outputs of the accepted steps.
    void write() {
        Marks marks;
        for (int i = 0; i < C; i++) marks.part[i] = moved.part[i] & (due.part[i] <= next.part[i]);
        Bits hit = marks.bits();
        if (!hit) return;
        for (int i = 0; i < C; i++) marks.part[i] &= due.part[i] < next.part[i];
        Bits inside = marks.bits();
        if (inside && EXTRA) {
            extra_stages(t, h, width, y, a, call.shared, k);
            for (Bits left = inside; left; left &= left - 1) extra[lowest(left)] += EXTRA;
        }
        while (hit) {
            if (inside) interpolate();
            Bits again = 0, within = 0;
            for (Bits left = hit; left; left &= left - 1) {
                const int l = lowest(left);
                const V* from = inside >> l & 1 ? out : y1;
                T* to = call.ys + (cursor[l]++ * call.samples + sample[l]) * N;
                for (int n = 0; n < N; n++) to[n] = from[n][l];
                expect(l);
                again |= Bits(due[l] <= next[l]) << l, within |= Bits(due[l] < next[l]) << l;
            }
            hit = again, inside = within;
        }
    }

    void interpolate() {
        Times up, down;
        for (int i = 0; i < C; i++) {
            up.part[i] = (due.part[i] - now.part[i]) / step.part[i];
            down.part[i] = 1 - up.part[i];
        }
        dense(rounded(up), rounded(down), width, y, k, out);
    }

    // Move the lanes whose step was accepted.
    void advance() {
        for (int n = 0; n < N; n++) y[n] = ok ? y1[n] : y[n];
        if (FSAL)
            for (int n = 0; n < N; n++) k[n] = ok ? k[(STAGES - 1) * N + n] : k[n];
        for (int i = 0; i < C; i++) {
            now.part[i] = moved.part[i] ? next.part[i] : now.part[i];
            accepted.part[i] -= moved.part[i];
        }
        tries++;
    }

    // End the lanes that have arrived or cannot go on; true if there is one.
    bool retire() {
        const int64_t before = alive;
        for (int l = 0; l < L; l++) {
            if (sample[l] < 0) continue;
            const bool arrived = ok[l] && now[l] == end[l];
            if (size[l] < least[l] && stuck(l)) continue;
            if (arrived) finish(l, SUCCESS, call.t1[sample[l]]);
            else if (tries - started[l] >= call.max_steps) finish(l, MAX_STEPS, sign[l] * now[l]);
        }
        return alive < before;
    }

    bool stuck(int l) {
        const double here = sign[l] * now[l];
        if (call.grid_steps) {  // a sample with no finite state goes no further, but its clock does
            finish(l, NONFINITE, sign[l] * next[l]);
            return true;
        }
        const double floor = std::fmax(4 * EPS * std::fmax(std::fabs(t[l]), floor0[l]), call.min_step);
        if (ok[l] ? !(now[l] == sign[l] * t[l] && size[l] <= step[l]) : !(size[l] < floor)) return false;
        const bool small = ok[l] || std::isfinite(ratio[l]) || step[l] < floor;
        finish(l, small ? STEP_TOO_SMALL : NONFINITE, here);
        return true;
    }

    void attempt() {
        choose();
        width = rounded(h);
        stages(t, h, width, y, a, call.shared, k, y1);
    }

    void settle() {
        if (call.grid_steps) judge_given();
        else judge();
        moved = widened(ok);
        ID seen = {};
        for (int i = 0; i < C; i++) {
            const ID event = (due.part[i] <= next.part[i]) | (next.part[i] == end.part[i]);
            seen |= (size.part[i] < least.part[i]) | (moved.part[i] & event);
        }
        const bool rare = bits_of(seen) || tries + 1 - oldest >= call.max_steps;
        if (rare) write();
        if (log) log->add(t, h, moved, y, k);
        advance();
        if (rare && retire()) refill();
    }
};

// Solve all samples of the queue. Where f is cheap a step is a chain of dependent operations, which leaves the CPU
// idle: two blocks in turn fill each other's gaps.
static void work(const Call& call, Queue& queue, Tape* tape) {
    Block one(call, queue, tape ? &tape->one : nullptr);
    one.refill();
    if (CHEAP && call.samples > L) {
        Block two(call, queue, tape ? &tape->two : nullptr);
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
            Queue queue(*call, next, i);
            Tape* tape = call->tapes ? (call->tapes[i] = new Tape(call->memory / threads)) : nullptr;
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
        slope(rounded(t), y, a, call->shared, out);
        for (int l = 0; l < L && first + l < call->samples; l++)
            for (int n = 0; n < N; n++) call->y1[(first + l) * N + n] = out[n][l];
    }
    return 0;
}
