// The clocks of a block of lanes: which steps to try, whether they are accepted, and what size follows, as
// engine/device_step.py and control/step_control.py have it. They run forward: they are times multiplied by the
// direction of integration.

constexpr double INFINITE = std::numeric_limits<double>::infinity(), NEVER = std::numeric_limits<double>::quiet_NaN();

struct Clock {
    const Call& call;
    Times t = {}, h = {}, sign = {};  // t, h: as f has them
    Times now = {}, next = {}, end = {}, step = {}, size = {};
    Times least = {};  // a size below it may be too small
    V ratio = {}, past0 = {}, past1 = {}, ceiling = {};
    V log_ratio = {}, aimed = {}, factor = {};
    M ok = {};
    double floor0[L];
    const T log_safety = T(std::log(call.safety)), aim = T(call.k * std::log(call.safety)), root_k = T(1 / call.k);
    const T widest = T(std::log(1e10)), clip = T(std::log(1e4)), smallest = T(call.smallest), largest = T(call.largest);
    const T below_one = T(1) - std::numeric_limits<T>::epsilon() / 2;
    const T exponent[3] = {T(call.exponent[0]), T(call.exponent[1]), T(call.exponent[2])};

    explicit Clock(const Call& c) : call(c) {}

    // Set a lane to the start of a sample.
    void set(int l, int64_t b, double first) {
        sign[l] = call.sign[b], now[l] = sign[l] * call.t0[b], end[l] = sign[l] * call.t1[b];
        t[l] = call.t0[b], step[l] = 0, size[l] = first;
        const double far = std::fmax(std::fabs(now[l]), std::fabs(end[l]));
        floor0[l] = NEAR_ZERO * far;
        least[l] = call.grid_steps ? 0.5 : std::fmax(4 * EPS * far, call.min_step);
        ceiling[l] = largest, past0[l] = past1[l] = 0;
    }

    double grid_of(int64_t i, int64_t b) const { return call.grid[i * call.grid_row + b * call.grid_column]; }

    // The steps to try; given ones are known already.
    void choose() {
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

    // Accept or reject by the error ratio, and choose the next size: in three parts, each a short chain of operations.
    void control() { weigh(), answer(), resize(); }

    void weigh() {
        ok = ratio <= 1;
        const V least = B(T(1e-10)), most = B(T(1e10)), low = ratio < most ? ratio : most;  // most, where it is NaN
        log_ratio = quick_logarithm(least > low ? least : low);
    }

    void answer() {
        aimed = bounded(log_ratio - aim, B(-widest), B(widest));
        const V grow = exponent[1] * past0 + exponent[2] * past1 + exponent[0] * aimed;
        factor = quick_exponential(bounded(ok ? grow : log_safety - log_ratio * root_k, B(-80), B(80)));
    }

    void resize() {
        factor = bounded(factor, B(smallest), ok ? ceiling : B(below_one));
        past1 = ok ? past0 : past1;
        past0 = ok ? bounded(aimed, B(-clip), B(clip)) : past0;
        ceiling = ok ? B(largest) : B(1);
        // A step that was shortened (to meet an end) and passed does not shrink the size.
        const Times by = widened(factor);
        for (int i = 0; i < C; i++) {
            const VD grown = by.part[i] * step.part[i], kept = by.part[i] >= 1 ? size.part[i] : VD{};
            size.part[i] = grown < kept ? kept : grown;
        }
    }

    // Why a lane that has judged its step (and moved, if it was accepted) cannot go on; SUCCESS where it can.
    int64_t failure(int l) const {
        const double floor = std::fmax(4 * EPS * std::fmax(std::fabs(t[l]), floor0[l]), call.min_step);
        if (ok[l] ? !(now[l] == sign[l] * t[l] && size[l] <= step[l]) : !(size[l] < floor)) return SUCCESS;
        const bool small = ok[l] || std::isfinite(ratio[l]) || step[l] < floor;
        return small ? STEP_TOO_SMALL : NONFINITE;
    }
};
