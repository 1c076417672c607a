// The adaptive solve: blocks of lanes, each lane with a sample's own time, step size, acceptance and end. A lane whose
// sample has ended takes the next one. What is decided, and by which rules, is as in engine/device_step.py.
#include <atomic>
#include <new>

// One accepted step of a sample, for the reverse sweep; outputs first ... first + count - 1 lie in it.
struct Record {
    Record* prev;
    double t, h, t1;
    int64_t first, count;
    T y[N];
};

// Records in pieces that never move.
struct Tape {
    static constexpr int64_t PIECE = 1 << 18;
    char* piece = nullptr;
    int64_t used = PIECE;
    Record* add() {
        const int64_t size = (sizeof(Record) + 15) / 16 * 16, whole = size > PIECE - 16 ? size + 16 : PIECE;
        if (used + size > whole) {
            char* fresh = (char*)malloc(whole);
            if (!fresh) throw std::bad_alloc();
            *(char**)fresh = piece;
            piece = fresh, used = 16;
        }
        used += size;
        return (Record*)(piece + used - size);
    }
    ~Tape() {
        while (piece) {
            char* before = *(char**)piece;
            free(piece);
            piece = before;
        }
    }
};

// All that a call is given, and where its results go. Times (B,); states (B, N); outputs (outputs, B, N).
struct Call {
    int64_t samples, outputs, time_row, time_column, grid_steps, grid_row, grid_column, max_steps, threads;
    double rtol, atol, first_step, min_step, max_step;
    double k, safety, smallest, largest, exponent[3];
    const double *t0, *t1, *sign, *times, *grid;
    const T *y0, *args;
    const T* const* shared;
    T *ys, *y1;
    double *t, *h;
    int64_t *status, *accepted, *rejected, *nfev, *before;
    Record** last;
    Tape** tapes;  // one a thread, or null
};

constexpr int64_t SUCCESS = 0, MAX_STEPS = -1, STEP_TOO_SMALL = -2, NONFINITE = -3, FIRST_NONFINITE = -4;
constexpr int CHUNK = 64;  // samples that a thread takes at once
constexpr double EPS = std::numeric_limits<double>::epsilon(), NEAR_ZERO = 1e-10;

template <class X> struct Heap {
    X* data;
    explicit Heap(size_t n) : data((X*)aligned_alloc(64, (n * sizeof(X) + 64) / 64 * 64)) {
        if (!data) throw std::bad_alloc();
        memset((void*)data, 0, n * sizeof(X));
    }
    ~Heap() { free(data); }
    Heap(const Heap&) = delete;
    operator X*() { return data; }
};

static inline V measured(V squares) { return SUP ? squares : root(squares) * T(std::pow(double(N), -0.5)); }
static inline V gathered(V sum, V scaled) { return SUP ? greater(sum, magnitude(scaled)) : sum + scaled * scaled; }

// Samples of the queue with what their first step needs.
struct Queue {
    const Call& call;
    std::atomic<int64_t>& next;
    int64_t at = 0, stop = 0, begin = 0;
    bool drained = false;
    Heap<T> slopes;
    Heap<double> sizes;
    Heap<V> y, f0, f1, y1, a;
    Queue(const Call& c, std::atomic<int64_t>& n)
        : call(c), next(n), slopes(CHUNK * N), sizes(CHUNK), y(N), f0(N), f1(N), y1(N), a(A + 1) {}

    bool empty() {
        if (at < stop) return false;
        if (drained) return true;
        begin = at = next.fetch_add(CHUNK);
        stop = begin + CHUNK < call.samples ? begin + CHUNK : call.samples;
        if (at >= stop) return drained = true;
        for (int64_t first = begin; first < stop; first += L) prepare(first);
        return false;
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
        if (FSAL || chosen) field(rounded(t0), y, a, call.shared, f0);
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

    // Hairer, Norsett, Wanner I, section II.4, as control/initial_step.py has it; NaN where f0 is not finite.
    Times first_size(const Times& t0, const Times& span, const Times& sign) {
        V sum0 = {}, sum1 = {}, sum2 = {};
        M finite = ~M{};
        const T rtol = T(call.rtol), atol = T(call.atol);
        for (int n = 0; n < N; n++) finite &= f0[n] - f0[n] == 0;
        for (int n = 0; n < N; n++) {
            const V scale = magnitude(y[n]) * rtol + atol, slope = finite ? f0[n] : V{};
            sum0 = gathered(sum0, y[n] / scale), sum1 = gathered(sum1, slope / scale);
            y1[n] = slope;
        }
        Times d0 = widened(measured(sum0)), d1 = widened(measured(sum1)), unit, h0, moved;
        for (int i = 0; i < C; i++) {
            const VD s = span.part[i], one = BD(1);
            const auto small = (d0.part[i] < 1e-5) | (d1.part[i] * s < 1e-5);
            unit.part[i] = small ? s : d0.part[i] / (d1.part[i] > 0 ? d1.part[i] : one);
            h0.part[i] = small ? 1e-6 * s : 0.01 * unit.part[i];
            h0.part[i] = h0.part[i] > s ? s : h0.part[i];
            moved.part[i] = sign.part[i] * h0.part[i];
        }
        const V step = rounded(moved);
        for (int n = 0; n < N; n++) y1[n] = y[n] + step * y1[n];
        field(stage_time(t0, moved, 1.0), y1, a, call.shared, f1);
        for (int n = 0; n < N; n++)
            sum2 = gathered(sum2, (f1[n] - (finite ? f0[n] : V{})) / (magnitude(y[n]) * rtol + atol));
        Times d2 = widened(measured(sum2)), good = widened(finite ? V{} : B(std::numeric_limits<T>::quiet_NaN()));
        for (int i = 0; i < C; i++) {
            const VD s = span.part[i], u = unit.part[i], h = h0.part[i], bend = d2.part[i] / h * u * u;
            VD steepest = bend < 1e30 ? bend : BD(1e30);
            const VD least = d1.part[i] * u;
            steepest = steepest < least ? least : steepest;
            const VD base = 0.01 / (steepest < 1e-15 ? BD(1e-15) : steepest);
            VD h1 = u * exponential(logarithm(base) / call.k);
            const VD slow = h * 1e-3 < 1e-6 * s ? 1e-6 * s : h * 1e-3;
            h1 = steepest <= 1e-15 ? slow : h1;
            h1 = h1 > 100 * h ? 100 * h : h1;
            d2.part[i] = (h1 > s ? s : h1) + good.part[i];
        }
        return d2;
    }
};

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
        const V step = rounded(h);
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

    void run() {
        refill();
        while (alive) {
            choose();
            const V step = rounded(h);
            stages(t, h, step, y, a, call.shared, k, y1);
            if (call.grid_steps) judge_given();
            else judge(error_ratio(step, y, y1, k, T(call.rtol), T(call.atol)));
            keep();
            if (advance()) refill();
        }
    }
};

extern "C" int forward(const Call* call) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    const int threads = int(call->threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
    for (int i = 0; i < threads; i++) {
        try {
            Queue queue(*call, next);
            Tape* tape = call->tapes ? (call->tapes[i] = new Tape) : nullptr;
            Block(*call, queue, tape).run();
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
