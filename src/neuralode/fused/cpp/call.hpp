// What a call is given, and where its results go.
#include <atomic>
#include <new>

struct Tape;

// Times (B,); states (B, N); outputs (outputs, B, N).
struct Call {
    int64_t samples, outputs, time_row, time_column, grid_steps, grid_row, grid_column, max_steps, threads, memory, knots;
    double rtol, atol, first_step, min_step, max_step;
    double k, safety, smallest, largest, exponent[3];
    const double *t0, *t1, *sign, *times, *grid;
    const T *y0, *args;
    const T* const* shared;
    T *ys, *y1;
    double *t, *h, *knot_t, *knot_h;
    T *knot_y, *knot_k;  // of the first ``knots`` steps; null where stages are not wanted
    int64_t *status, *accepted, *rejected, *nfev, *before;
    int64_t* worst;  // the sample that a batch in lockstep failed by
    int64_t* evaluations;  // of all samples
    Tape** tapes;  // one a thread, or null
};

constexpr int64_t SUCCESS = 0, MAX_STEPS = -1, STEP_TOO_SMALL = -2, NONFINITE = -3, FIRST_NONFINITE = -4;
constexpr int CHUNK = 64;  // samples that a thread takes at once
constexpr double EPS = std::numeric_limits<double>::epsilon(), NEAR_ZERO = 1e-10;

// What a solve hands back.
constexpr int REACHED = 0, FAILED = 1, NO_MEMORY = 2;
static inline int verdict(const Call& call) {
    bool failed = false;
    *call.evaluations = 0;
    for (int64_t b = 0; b < call.samples; b++) failed |= call.status[b] != SUCCESS, *call.evaluations += call.nfev[b];
    return failed ? FAILED : REACHED;
}

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
