// Tiles of products (gemm.h): a few packed rows of a times a panel of b, their sums in registers.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>  // the control register is in all of them
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/gemm.h"
#include "kernels/vectors_impl.h"

namespace grpo::cpu {
namespace {

constexpr int kTileRows = GRPO_TILE_ROWS;
constexpr int kPanelVectors = kPanelColumns / kLanes;

/// Loaded once, not again at each use.
template <typename V>
inline __attribute__((always_inline)) V in_register(V v) {
#if defined(__x86_64__)
    asm("" : "+v"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
    return v;
}

/// Denormal numbers are zero while it lives, as they are for VDPBF16PS.
class FlushDenormals {
  public:
#if defined(__x86_64__)
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before_); }

  private:
    unsigned before_;
#endif
};

/// Numbers of a row of a that lie together: rows of a tile follow each other line by line.
constexpr int64_t kLineNumbers = 32;

// --- arithmetic: a step of k of packed rows meets a step of a panel

struct FloatSteps {
    static constexpr Storage kStorage = Storage::kFloat;
    static constexpr int kFloats = 1;  // of a packed row
    static constexpr int kLineFloats = kLineNumbers;
    using Guard = int;
    template <int R, int C>
    static inline __attribute__((always_inline)) void add(Vec (&sums)[R][C], const float* a,
                                                          const uint32_t* b) {
        Vec columns[C];
        each<C>([&](auto c) __attribute__((always_inline)) {
            columns[c] = in_register(load_as<Vec>(b + c * kLanes));
        });
        each<R>([&](auto r) __attribute__((always_inline)) {
            const Vec row = in_register(fill(a[r * kLineFloats]));
            each<C>([&](auto c) __attribute__((always_inline)) { sums[r][c] += row * columns[c]; });
        });
    }
    static Vec rounded(Vec x) { return x; }
};

#if defined(GRPO_BF16_PAIRS)
/// A packed row has one word for a pair.
struct PairSteps {
    static constexpr Storage kStorage = Storage::kBFloat16;
    static constexpr int kFloats = 1;
    static constexpr int kLineFloats = kLineNumbers / 2;
    using Guard = int;
    template <int R, int C>
    static inline __attribute__((always_inline)) void add(Vec (&sums)[R][C], const float* a,
                                                          const uint32_t* b) {
        __m512bh columns[C];
        each<C>([&](auto c) __attribute__((always_inline)) {
            columns[c] = in_register(load_as<__m512bh>(b + c * kLanes));
        });
        each<R>([&](auto r) __attribute__((always_inline)) {
            const auto row = in_register((__m512bh)_mm512_set1_ps(a[r * kLineFloats]));
            each<C>([&](auto c) __attribute__((always_inline)) {
                sums[r][c] = (Vec)_mm512_dpbf16_ps((__m512)sums[r][c], row, columns[c]);
            });
        });
    }
};
#else
/// A packed row has two numbers for a pair, rounded and wide.
struct PairSteps {
    static constexpr Storage kStorage = Storage::kBFloat16;
    static constexpr int kFloats = 2;
    static constexpr int kLineFloats = kLineNumbers;
    using Guard = FlushDenormals;
    template <int R, int C>
    static inline __attribute__((always_inline)) void add(Vec (&sums)[R][C], const float* a,
                                                          const uint32_t* b) {
        add_halves<R, C>(sums, a + 1, b, upper_halves);
        add_halves<R, C>(sums, a, b, [](Words w) { return w << 16; });
    }
    /// By a mask that is read at each use: in a register, it would push out a sum.
    static inline __attribute__((always_inline)) Words upper_halves(Words words) {
        alignas(64) static constexpr Words kUpper = Words{} + 0xFFFF0000U;
        const Words* mask = &kUpper;
        asm("" : "+r"(mask));
        return words & *mask;
    }
    template <int R, int C, typename F>
    static inline __attribute__((always_inline)) void add_halves(Vec (&sums)[R][C], const float* a,
                                                                 const uint32_t* b, F half) {
        Vec columns[C];
        each<C>([&](auto c) __attribute__((always_inline)) {
            columns[c] = in_register((Vec)half(load_as<Words>(b + c * kLanes)));
        });
        each<R>([&](auto r) __attribute__((always_inline)) {
            const Vec row = in_register(fill(a[r * kLineFloats]));
            each<C>([&](auto c) __attribute__((always_inline)) { sums[r][c] += row * columns[c]; });
        });
    }
    static Vec rounded(Vec x) { return (Vec)(narrow_words(x) << 16); }
};
#endif

template <typename P>
constexpr int64_t kLineSteps = kLineNumbers / numbers_of_step(P::kStorage);

/// Of one packed row of k numbers, whole lines.
template <typename P>
int64_t row_floats(int64_t k) {
    return (k + kLineNumbers - 1) / kLineNumbers * P::kLineFloats;
}

// --- tiles

struct Tile {
    const float* a;     // [lines][R][kLineFloats]
    const uint32_t* b;  // a step is `step` words from the next
    int64_t step, steps;
    float* c;
    const float* next_c;  // of the tile that comes after
    int64_t stride;
    int64_t columns;        // of c that exist
    bool resume;            // the sums go on from c
    const uint32_t* fetch;  // words to bring near, one or two lines a step, or null
};

template <int R, int C>
inline __attribute__((always_inline)) void load_sums(Vec (&sums)[R][C], const Tile& tile) {
    if (!tile.resume) {
        each<R * C>([&](auto i) __attribute__((always_inline)) { sums[i / C][i % C] = Vec{}; });
    } else if (tile.columns >= C * kLanes) {
        each<R * C>([&](auto i) __attribute__((always_inline)) {
            sums[i / C][i % C] = load(tile.c + i / C * tile.stride + i % C * kLanes);
        });
    } else {
        each<R * C>([&](auto i) __attribute__((always_inline)) {
            const int64_t column = i % C * kLanes, n = least(kLanes, tile.columns - column);
            const float* c = tile.c + i / C * tile.stride + column;
            sums[i / C][i % C] = n > 0 ? load_part(c, n, 0) : Vec{};
        });
    }
}

template <int R, int C>
inline __attribute__((always_inline)) void store_sums(const Vec (&sums)[R][C], const Tile& tile) {
    if (tile.columns >= C * kLanes) {
        each<R * C>([&](auto i) __attribute__((always_inline)) {
            store(tile.c + i / C * tile.stride + i % C * kLanes, sums[i / C][i % C]);
        });
        return;
    }
    each<R * C>([&](auto i) __attribute__((always_inline)) {
        const int64_t column = i % C * kLanes, n = least(kLanes, tile.columns - column);
        if (n > 0) store_part(tile.c + i / C * tile.stride + column, n, sums[i / C][i % C]);
    });
}

/// Fetches kLines lines a step.
template <typename P, int R, int C, int kLines>
void run_tile(const Tile& tile) {
    Vec sums[R][C];
    load_sums<R, C>(sums, tile);
    const float* a = tile.a;
    const uint32_t* b = tile.b;
    each<R>([&](auto r) __attribute__((always_inline)) {
        __builtin_prefetch(tile.next_c + r * tile.stride, 1);
        __builtin_prefetch(tile.next_c + r * tile.stride + 16, 1);
    });
    const uint32_t* fetch = tile.fetch;
    for (int64_t k = 0; k < tile.steps; k += kLineSteps<P>, a += R * P::kLineFloats) {
        const float* const end = a + least(kLineSteps<P>, tile.steps - k) * P::kFloats;
        for (const float* step = a; step < end; step += P::kFloats, b += tile.step) {
            for (int line = 0; line < kLines; ++line) __builtin_prefetch(fetch + line * 16, 0, 2);
            fetch += kLines * 16;
            P::template add<R, C>(sums, step, b);
        }
    }
    store_sums<R, C>(sums, tile);
}

/// Few rows take a panel whole, since each of its lines is then read once.
template <int R>
constexpr int kTileVectors = R* kPanelVectors <= GRPO_TILE_SUMS ? kPanelVectors : 2;

struct TileKernel {
    void (*run[3])(const Tile&);  // by lines that are fetched a step
    int vectors;
};

template <typename P, int R = kTileRows>
TileKernel tile_of(int64_t rows, int64_t columns) {
    if constexpr (R > 1) {
        if (rows < R) return tile_of<P, R - 1>(rows, columns);
    }
    // As a LoRA pair of rank 16 has them.
    if (columns <= kLanes)
        return {{run_tile<P, R, 1, 0>, run_tile<P, R, 1, 1>, run_tile<P, R, 1, 2>}, 1};
    constexpr int kVectors = kTileVectors<R>;
    return {{run_tile<P, R, kVectors, 0>, run_tile<P, R, kVectors, 1>, run_tile<P, R, kVectors, 2>},
            kVectors};
}

/// Rows as tiles of about one size: tile i begins at row begin(i).
struct Tiles {
    explicit Tiles(int64_t number_of_rows)
        : rows(number_of_rows), count((rows + kTileRows - 1) / kTileRows) {}
    int64_t begin(int64_t i) const { return rows * i / count; }
    int64_t rows, count;
};

/// Steps of b of a panel against tiles [first, last) of packed rows.
struct Pass {
    const float* packed;  // of tile `first`
    int64_t row_floats, steps;
    const uint32_t* b;
    int64_t step_words;
    const uint32_t* next;  // the next panel, or null
    float* c;              // row 0, first column of the panel
    int64_t stride, columns;
    bool resume;
};

template <typename P>
void run_pass(const Pass& pass, const Tiles& tiles, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
        const int64_t row = tiles.begin(i), rows = tiles.begin(i + 1) - row;
        const TileKernel kernel = tile_of<P>(rows, pass.columns);
        const float* a = pass.packed + (row - tiles.begin(first)) * pass.row_floats;
        // The next panel has two lines a step. A tile that is alone fetches both, else the first
        // two tiles share.
        const int lines = pass.next == nullptr || i - first > 1 ? 0 : last - first > 1 ? 1 : 2;
        for (int64_t column = 0; column < pass.columns; column += kernel.vectors * kLanes) {
            const Tile tile{
                .a = a,
                .b = pass.b + column,
                .step = pass.step_words,
                .steps = pass.steps,
                .c = pass.c + row * pass.stride + column,
                .next_c = pass.c + (row + rows) * pass.stride + column,
                .stride = pass.stride,
                .columns = pass.columns - column,
                .resume = pass.resume,
                .fetch = lines == 0 ? nullptr : pass.next + (i - first) * pass.steps * 16};
            kernel.run[column == 0 ? lines : 0](tile);
        }
    }
}

}  // namespace
}  // namespace grpo::cpu
