// What a call is given, and the samples that wait for a lane.
#include <atomic>
#include <new>

struct Tape;

// All that a call is given, and where its results go. Times (B,); states (B, N); outputs (outputs, B, N).
struct Call {
    int64_t samples, outputs, time_row, time_column, grid_steps, grid_row, grid_column, max_steps, threads, memory;
    double rtol, atol, first_step, min_step, max_step;
    double k, safety, smallest, largest, exponent[3];
    const double *t0, *t1, *sign, *times, *grid;
    const T *y0, *args;
    const T* const* shared;
    T *ys, *y1;
    double *t, *h;
    int64_t *status, *accepted, *rejected, *nfev, *before;
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

// f, the same bits wherever it is called.
static __attribute__((noinline)) void slope(V t, const V* y, const V* a, const T* const* shared, V* out) {
    field(t, y, a, shared, out);
}

// Samples of the queue with what their first step needs.
struct Queue {
    const Call& call;
    std::atomic<int64_t>& next;
    const int64_t thread, stride;
    int64_t chunks = 0, at = 0, stop = 0, begin = 0;
    bool drained = false;
    Heap<T> slopes;
    Heap<double> sizes;
    Heap<V> y, f0, f1, y1, a;
    Queue(const Call& c, std::atomic<int64_t>& n, int64_t i)
        : call(c), next(n), thread(i), stride(c.threads), slopes(CHUNK * N), sizes(CHUNK), y(N), f0(N), f1(N), y1(N), a(A + 1) {}

    bool empty() {
        if (at < stop) return false;
        if (drained) return true;
        // With a tape every thread has its own samples, so that gradients are summed in the same order every time.
        begin = at = call.tapes ? CHUNK * (thread + stride * chunks++) : next.fetch_add(CHUNK);
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
        slope(stage_time(t0, moved, 1.0), y1, a, call.shared, f1);
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
