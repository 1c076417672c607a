// What the stages of a step leave for their VJP: each its input (N), and what f's VJP needs of f there (KEPT).

constexpr int VALUES = EVALUATIONS * WIDTH;

struct Values {
    V* at;
    int64_t stride;  // WIDTH; or 0 where nobody wants them, then all stages have one place
    V* stage(int i) const { return at + i * stride; }
};

// A stage is a function of its own where blocks take turns stage by stage.
#if STAGE_BY_STAGE
#define STAGE static __attribute__((noinline, noclone)) void
#else
#define STAGE static inline __attribute__((always_inline)) void
#endif
