// What the reverse sweep needs of the steps of a block of lanes.
#include <algorithm>
#include <memory>
#include <vector>

// Pieces of memory that solves hand on to each other: fresh ones cost more, page by page, than what is written there.
struct Pool {
    static constexpr int64_t MOST = 1 << 9;
    const int64_t size, most;
    std::atomic_flag taken = ATOMIC_FLAG_INIT;
    void* kept[MOST];
    int64_t count = 0;

    Pool(int64_t bytes, int64_t pieces) : size(bytes), most(pieces) {}

    void* give() {
        void* found = nullptr;
        while (taken.test_and_set(std::memory_order_acquire)) {}
        if (count) found = kept[--count];
        taken.clear(std::memory_order_release);
        return found ? found : aligned_alloc(64, size);
    }
    void take(void* piece) {
        while (taken.test_and_set(std::memory_order_acquire)) {}
        if (count < most) kept[count++] = piece, piece = nullptr;
        taken.clear(std::memory_order_release);
        free(piece);
    }
    int64_t empty() {
        int64_t freed = 0;
        for (; count; freed += size) free(give());
        return freed;
    }
};
static Pool small_pieces(1 << 16, 512), large_pieces(1 << 20, 128);

// Free the pieces that no solve holds; returns their bytes.
extern "C" int64_t empty_pool() { return small_pieces.empty() + large_pieces.empty(); }

// Items of one size in pieces that never move.
struct Shelf {
    const int64_t width;
    Pool* const pool;  // null: every item is a piece of its own
    int64_t shift = 0, count = 0, pieces = 0, room = 0;
    char** piece = nullptr;

    explicit Shelf(int64_t w) : width((w + 63) / 64 * 64), pool(pool_for(width)) {
        while (pool && (width << (shift + 1)) <= pool->size) shift++;
    }
    static Pool* pool_for(int64_t bytes) {
        if (3 * bytes <= small_pieces.size) return &small_pieces;
        return bytes <= large_pieces.size ? &large_pieces : nullptr;
    }
    Shelf(const Shelf&) = delete;
    ~Shelf() {
        while (pieces) drop();
        free(piece);
    }
    void drop() {
        void* last = piece[--pieces];
        if (pool) pool->take(last);
        else free(last);
    }
    void* at(int64_t i) const { return piece[i >> shift] + (i & ((int64_t(1) << shift) - 1)) * width; }
    void* add() {
        if (full()) {
            if (pieces == room) {
                char** longer = (char**)realloc(piece, (room = 2 * room + 16) * sizeof(char*));
                if (!longer) throw std::bad_alloc();
                piece = longer;
            }
            piece[pieces] = (char*)(pool ? pool->give() : aligned_alloc(64, width));
            if (!piece[pieces]) throw std::bad_alloc();
            pieces++;
        }
        return at(count++);
    }
    void halve() {  // keep items 0, 2, 4 ...
        for (int64_t i = 1; 2 * i < count; i++) memcpy(at(i), at(2 * i), width);
        count = (count + 1) / 2;
        while ((pieces - 1) << shift >= count) drop();
    }
    int64_t bytes() const { return count * width; }
    bool full() const { return count >> shift == pieces; }
    int64_t piece_bytes() const { return pool ? pool->size : width; }
    void clear() {
        while (pieces) drop();
        count = 0;
    }
};

// A trial step of every lane; h = 0 where the lane stood still.
struct Row {
    Times t, h;
};

// A sample in a lane, from row ``row`` on; ``before``: the visit before it in that lane, or -1.
struct Visit {
    int64_t row, sample, before, outputs;  // outputs: so many rows of ys are written
    double end;                            // sign times the end of its last accepted step
    int lane;
};

// 2 C registers of times a row; N of states and, for methods that hand on their last stage, N of its slopes; the values
// of the first rows' stages, up to HELD bytes a solve. Past ``limit`` bytes no values are held and only every 2nd, 4th
// ... row's states, as long as they are more than the rows between two: about the square root of the number of rows,
// and as much again to recompute the stretch between two.
struct Log {
    static constexpr int STATE = N * (1 + FSAL);
    static constexpr int64_t HELD = HOLDING ? 1 << 27 : 0;
    const int64_t limit;
    int64_t most;  // bytes of values
    Shelf own{sizeof(Row)}, states{STATE * int64_t(sizeof(V))}, visits{sizeof(Visit)};
    Shelf values{VALUES * int64_t(sizeof(V))};
    Shelf& rows;
    Marks used;  // the lanes that hold samples
    int64_t every = 1, latest[L];

    // One of so many logs of a solve that may take ``bytes``. ``common``: rows that several blocks share.
    Log(int64_t bytes, int64_t logs, Shelf* common)
        : limit(bytes / logs), most(std::min(bytes, HELD) / logs), rows(common ? *common : own) {
        for (int l = 0; l < L; l++) latest[l] = -1, used[l] = -1;
    }
    // Where the trial step to come may leave its values: where the one before did, if that was rejected by all; null
    // where there is no more room.
    V* room() {
        if (values.count < rows.count) return nullptr;
        if (values.count > rows.count) return (V*)values.at(rows.count);
        if (values.full() && (values.pieces + 1) * values.piece_bytes() > most) return nullptr;
        return (V*)values.add();
    }
    V* held(int64_t i) const { return i < values.count ? (V*)values.at(i) : nullptr; }
    Row& row(int64_t i) const { return *(Row*)rows.at(i); }
    V* state(int64_t i) const { return (V*)states.at(i); }
    Visit& visit(int64_t i) const { return *(Visit*)visits.at(i); }

    void enter(int lane, int64_t sample) {
        Visit* v = (Visit*)visits.add();
        v->row = rows.count, v->sample = sample, v->before = latest[lane], v->outputs = 0, v->end = 0, v->lane = lane;
        latest[lane] = visits.count - 1;
    }
    void leave(int lane, int64_t outputs, double end) {
        visit(latest[lane]).outputs = outputs, visit(latest[lane]).end = end;
    }
    void keep(const V* y, const V* slope) {
        if (rows.count % every) return;
        V* to = (V*)states.add();
        for (int n = 0; n < N; n++) to[n] = y[n];
        if (FSAL)
            for (int n = 0; n < N; n++) to[N + n] = slope[n];
        if (own.bytes() + states.bytes() + values.bytes() <= limit) return;
        values.clear(), most = 0;
        if (own.bytes() + states.bytes() > limit && states.count > 2 * every) states.halve(), every *= 2;
    }
    void add(const Times& t, const Times& h, const Marks& moved, const V* y, const V* slope) {
        keep(y, slope);
        Row* to = (Row*)rows.add();
        for (int i = 0; i < C; i++) {
            to->t.part[i] = t.part[i];
            to->h.part[i] = moved.part[i] ? h.part[i] : VD{};
        }
    }
};

// Where a trial step leaves its values: in the log of its block, or where nobody looks.
static inline Values place(Log* log) {
    if constexpr (!HOLDING) return {nullptr, 0};
    if (V* room = log ? log->room() : nullptr) return {room, WIDTH};
    static thread_local Heap<V> nowhere(WIDTH);
    return {nowhere, 0};
}

// The logs of a thread's blocks.
struct Tape {
    Shelf common{sizeof(Row)};
    std::vector<std::unique_ptr<Log>> logs;
    Log* add(int64_t bytes, int64_t logs_in_all, Shelf* rows = nullptr) {
        logs.emplace_back(new Log(bytes, logs_in_all, rows));
        return logs.back().get();
    }
};

extern "C" void release(Tape** tapes, int64_t count) {
    for (int64_t i = 0; i < count; i++) delete tapes[i];
}
