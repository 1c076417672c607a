// The first step size: Hairer, Norsett, Wanner I, section II.4, as control/initial_step.py has it.

static inline V measured(V squares) { return SUP ? squares : root(squares) * T(std::pow(double(N), -0.5)); }
static inline V gathered(V sum, V scaled) { return SUP ? greater(sum, magnitude(scaled)) : sum + scaled * scaled; }

// The tolerance of entry n, for a state of some size: that of the call, or behind f's arguments that of the entry.
static inline V allowed(V size, int n, const V* a, T rtol, T atol) {
    return A > OWN ? size * a[OWN + n] + a[OWN + N + n] : size * rtol + atol;
}

// f, the same bits wherever it is called.
static __attribute__((noinline)) void slope(V t, const V* y, const V* a, const T* const* shared, V* out) {
    field(t, y, a, shared, out);
}

// Of each lane, from norms that may be its own or those of a batch.
struct FirstStep {
    const Call& call;
    const Times span, sign;
    const T rtol = T(call.rtol), atol = T(call.atol);
    Times d1 = {}, unit = {}, h0 = {};

    FirstStep(const Call& c, const Times& whole, const Times& direction) : call(c), span(whole), sign(direction) {}

    // |y| and |f0| in units of the tolerance; finite_f0 is f0, or 0 where that is not finite: then NaN is
    // handed back.
    V norms(const V* y, const V* a, const V* f0, V* finite_f0, V& size, V& speed) const {
        V sum0 = {}, sum1 = {};
        M finite = ~M{};
        for (int n = 0; n < N; n++) finite &= f0[n] - f0[n] == 0;
        for (int n = 0; n < N; n++) {
            const V scale = allowed(magnitude(y[n]), n, a, rtol, atol);
            finite_f0[n] = finite ? f0[n] : V{};
            sum0 = gathered(sum0, y[n] / scale), sum1 = gathered(sum1, finite_f0[n] / scale);
        }
        size = measured(sum0), speed = measured(sum1);
        return finite ? V{} : B(std::numeric_limits<T>::quiet_NaN());
    }

    // The step to try first: h0.
    void guess(const Times& d0, const Times& speed) {
        d1 = speed;
        for (int i = 0; i < C; i++) {
            const VD s = span.part[i], one = BD(1);
            const auto small = (d0.part[i] < 1e-5) | (d1.part[i] * s < 1e-5);
            unit.part[i] = small ? s : d0.part[i] / (d1.part[i] > 0 ? d1.part[i] : one);
            h0.part[i] = small ? 1e-6 * s : 0.01 * unit.part[i];
            h0.part[i] = h0.part[i] > s ? s : h0.part[i];
        }
    }

    // |f(t0 + h0, y + h0 f0) - f0| in units of the tolerance.
    V bend(const Times& t0, const V* y, const V* a, const V* f0, V* y1, V* f1) const {
        Times moved;
        for (int i = 0; i < C; i++) moved.part[i] = sign.part[i] * h0.part[i];
        const V step = rounded(moved);
        V sum = {};
        for (int n = 0; n < N; n++) y1[n] = y[n] + step * f0[n];
        slope(stage_time(t0, moved, 1.0), y1, a, call.shared, f1);
        for (int n = 0; n < N; n++) sum = gathered(sum, (f1[n] - f0[n]) / allowed(magnitude(y[n]), n, a, rtol, atol));
        return measured(sum);
    }

    Times size(const Times& d2) const {
        Times found;
        for (int i = 0; i < C; i++) {
            const VD s = span.part[i], u = unit.part[i], h = h0.part[i], curve = d2.part[i] / h * u * u;
            VD steepest = curve < 1e30 ? curve : BD(1e30);
            const VD least = d1.part[i] * u;
            steepest = steepest < least ? least : steepest;
            const VD base = 0.01 / (steepest < 1e-15 ? BD(1e-15) : steepest);
            VD h1 = u * exponential(logarithm(base) / call.k);
            const VD slow = h * 1e-3 < 1e-6 * s ? 1e-6 * s : h * 1e-3;
            h1 = steepest <= 1e-15 ? slow : h1;
            h1 = h1 > 100 * h ? 100 * h : h1;
            found.part[i] = h1 > s ? s : h1;
        }
        return found;
    }
};
