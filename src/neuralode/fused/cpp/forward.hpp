// The adaptive solve: blocks of lanes, each lane with a sample's own time, step size, acceptance and end. A lane whose
// sample has ended takes the next one. What is decided, and by which rules, is as in engine/device_step.py.
//
// What most steps do not do (outputs, ends, failures) is found by one test for all lanes, then decided lane by lane.
// Idle lanes take steps of size 0 with an end that never comes.

// A block of lanes at work.
struct Block : Clock {
    Queue& queue;
    Log* log;
    Heap<V> y, y1, a, out;
    Heap<V> k;  // stages, N each
    Times due = {};  // of the next output
    Marks moved = {}, accepted = {};
    V width = {};
    Values values = {};
    int64_t sample[L], cursor[L], extra[L], started[L], idle[L], tries = 0, alive = 0;
    int64_t oldest = 0;  // no sample that is in a lane started before
    Bits vacant = ALL;   // lanes without a sample

    Block(const Call& c, Queue& q, Log* p)
        : Clock(c), queue(q), log(p), y(N), y1(N), a(A + 1), out(N), k((STAGES + EXTRA) * N) {
        for (int l = 0; l < L; l++) sign[l] = 1, rest(l);
    }

    double clock_of(int64_t i, int l) const {
        return sign[l] * call.times[i * call.time_row + sample[l] * call.time_column];
    }

    // Give every idle lane a sample.
    void refill() {
        for (Bits left = vacant; left && !queue.empty(); left &= vacant) {
            const int l = lowest(left);
            load(l, queue.take());
        }
    }

    void rest(int l) {
        sample[l] = -1, vacant |= Bits(1) << l;
        size[l] = step[l] = 0, end[l] = NEVER, due[l] = INFINITE, least[l] = -INFINITE;
    }

    void load(int l, int64_t b) {
        const int64_t local = b - queue.begin;
        sample[l] = b, vacant &= ~(Bits(1) << l), alive++;
        accepted[l] = extra[l] = cursor[l] = idle[l] = 0, started[l] = tries;
        for (int n = 0; n < N; n++) y[n][l] = call.y0[b * N + n], k[n][l] = queue.slopes[local * N + n];
        for (int n = 0; n < A; n++) a[n][l] = call.args[b * A + n];
        set(l, b, queue.sizes[local]);
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
        call.nfev[b] += (tried - idle[l]) * EVALUATIONS + extra[l];
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
                    idle[l] += step[l] == 0;  // a step of other samples
                }
        Clock::choose();
        width = rounded(h);
    }

    void measure() {
        if (call.grid_steps) return judge_given();
        ratio = error_ratio(width, y, y1, k, a, T(call.rtol), T(call.atol));
        weigh();
    }
    void decide() {
        if (!call.grid_steps) answer();
    }
    void plan() {
        if (!call.grid_steps) resize();
    }

    void judge_given() {
        ok = ~M{};
        for (int n = 0; n < N; n++) ok &= y1[n] - y1[n] == 0;
        size = widened(ok ? B(1) : V{});
    }

    // Outputs of the accepted steps.
    __attribute__((noinline)) void write() {
        Marks marks;
        for (int i = 0; i < C; i++) marks.part[i] = moved.part[i] & (due.part[i] <= next.part[i]);
        Bits hit = marks.bits();
        for (int i = 0; i < C; i++) marks.part[i] &= due.part[i] < next.part[i];
        Bits inside = marks.bits();
        if (inside && EXTRA) {
            extra_stages(t, h, width, y, a, call.shared, k);
            for (Bits left = call.knot_k ? 0 : inside; left; left &= left - 1) extra[lowest(left)] += EXTRA;
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

    void keep_knots() {
        if (call.knot_k && EXTRA) extra_stages(t, h, width, y, a, call.shared, k);
        for (Bits left = moved.bits(); left; left &= left - 1) {
            const int l = lowest(left);
            if (sample[l] < 0) continue;
            put_knot(call, accepted[l], sample[l], l, t, h, y, k);
            extra[l] += call.knot_k ? EXTRA : 0;
        }
    }

    void interpolate() {
        Times since;
        for (int i = 0; i < C; i++) since.part[i] = due.part[i] - now.part[i];
        const V up = rounded(since) / magnitude(width);
        dense(up, 1 - up, width, y, k, out);
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

    // End those of some lanes that have arrived or cannot go on, and give them other samples; ``late``: any may have
    // tried often enough.
    __attribute__((noinline)) void retire(Bits some, bool late) {
        for (Bits left = (late ? ALL : some) & ~vacant; left; left &= left - 1) {
            const int l = lowest(left);
            const bool arrived = ok[l] && now[l] == end[l];
            if (size[l] < least[l] && stuck(l)) continue;
            if (arrived) finish(l, SUCCESS, call.t1[sample[l]]);
            else if (tries - started[l] >= call.max_steps) finish(l, MAX_STEPS, sign[l] * now[l]);
        }
        if (late) {
            oldest = tries;
            for (Bits left = ALL & ~vacant; left; left &= left - 1)
                oldest = std::min(oldest, started[lowest(left)]);
        }
        refill();
    }

    bool stuck(int l) {
        if (call.grid_steps) {  // a sample with no finite state goes no further, but its clock does
            finish(l, NONFINITE, sign[l] * next[l]);
            return true;
        }
        const int64_t status = failure(l);
        if (status < 0) finish(l, status, sign[l] * now[l]);
        return status < 0;
    }

    void attempt() { stages<HOLDING>(t, h, width, y, a, call.shared, k, y1, place(log)); }

    void prepare() { values = place(log); }
    template <int I> void attempt(std::integral_constant<int, I>) {
        stage<I, HOLDING>(t, h, width, y, a, call.shared, k, y1, values);
    }

    void settle() {
        moved = widened(ok);
        for (int i = 0; call.grid_steps && i < C; i++) moved.part[i] &= step.part[i] != 0;
        ID outputs = {};
        for (int i = 0; i < C; i++) outputs |= moved.part[i] & (due.part[i] <= next.part[i]);
        if (bits_of(outputs)) write();
        if (call.knots) keep_knots();
        if (log) log->add(t, h, moved, y, k);
        advance();
        Marks last;
        for (int i = 0; i < C; i++) last.part[i] = (size.part[i] < least.part[i]) | (now.part[i] == end.part[i]);
        const Bits some = last.bits();
        const bool late = tries - oldest >= call.max_steps;
        if (some || late) retire(some, late);
    }
};

// A step of every block, part by part. A part is a chain of dependent operations, which leaves the CPU idle: blocks in
// turn fill each other's gaps.
template <class... Blocks> static inline void step(Blocks&... all) {
    (all.choose(), ...);
    if constexpr (CHEAP) (all.attempt(), ...);
    else {
        (all.prepare(), ...);
        every_stage([&](auto number) { (all.attempt(number), ...); });
    }
    (all.measure(), ...);
    (all.decide(), ...);
    (all.plan(), ...);
    (all.settle(), ...);
}

// Solve all samples of the queue; where f takes little time two blocks at once.
static void work(const Call& call, Queue& queue, Tape* tape) {
    const int64_t logs = call.threads * (MODERATE ? 2 : 1);
    Block one(call, queue, tape ? tape->add(call.memory, logs) : nullptr);
    one.refill();
    if (MODERATE && call.samples > L) {
        Block two(call, queue, tape ? tape->add(call.memory, logs) : nullptr);
        two.refill();
        while (one.alive && two.alive) step(one, two);
        while (two.alive) step(two);
    }
    while (one.alive) step(one);
}

extern "C" int forward(const Call* call) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    const int threads = int(call->threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int i = 0; i < threads; i++) {
        try {
            Queue queue(*call, next, i);
            Tape* tape = call->tapes ? (call->tapes[i] = new Tape) : nullptr;
            work(*call, queue, tape);
        } catch (...) {
            failed = true;
        }
    }
    return failed ? NO_MEMORY : verdict(*call);
}
