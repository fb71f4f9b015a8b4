// Products of matrices (gemm.h), for kernels_impl.h.
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

// Packed rows of a stay in the second-level cache while panels pass. Where panels are packed on the
// way it is a part of k of more rows, so that a panel serves many of them.
constexpr int64_t kNearBytes = 384 << 10;
constexpr int64_t kPartBytes = 704 << 10;
constexpr int64_t kMostDepth = 1024;  // steps of a panel that is packed on the way
constexpr int64_t kLeastDepth = 512;

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

// --- arithmetic: a step of k of packed rows meets a step of a panel

struct FloatSteps {
    static constexpr Storage kStorage = Storage::kFloat;
    static constexpr int kFloats = 1;  // of a packed row
    using Guard = int;
    template <int R, int C>
    static inline __attribute__((always_inline)) void add(Vec (&sums)[R][C], const float* a,
                                                          const uint32_t* b) {
        Vec columns[C];
        each<C>([&](auto c) __attribute__((always_inline)) {
            columns[c] = in_register(load_as<Vec>(b + c * kLanes));
        });
        each<R>([&](auto r) __attribute__((always_inline)) {
            const Vec row = in_register(fill(a[r]));
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
    using Guard = int;
    template <int R, int C>
    static inline __attribute__((always_inline)) void add(Vec (&sums)[R][C], const float* a,
                                                          const uint32_t* b) {
        __m512bh columns[C];
        each<C>([&](auto c) __attribute__((always_inline)) {
            columns[c] = in_register(load_as<__m512bh>(b + c * kLanes));
        });
        each<R>([&](auto r) __attribute__((always_inline)) {
            const auto row = in_register((__m512bh)_mm512_set1_ps(a[r]));
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
    using Guard = FlushDenormals;
    template <int R, int C>
    static inline __attribute__((always_inline)) void add(Vec (&sums)[R][C], const float* a,
                                                          const uint32_t* b) {
        add_halves<R, C>(sums, a + R, b, upper_halves);
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
            const Vec row = in_register(fill(a[r]));
            each<C>([&](auto c) __attribute__((always_inline)) { sums[r][c] += row * columns[c]; });
        });
    }
    static Vec rounded(Vec x) { return (Vec)(narrow_words(x) << 16); }
};
#endif

// --- tiles

struct Tile {
    const float* a;     // [steps][R]
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
    for (int64_t k = 0; k < tile.steps; ++k, a += R * P::kFloats, b += tile.step) {
        for (int line = 0; line < kLines; ++line)
            __builtin_prefetch(tile.fetch + (k * kLines + line) * 16, 0, 2);
        P::template add<R, C>(sums, a, b);
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
TileKernel tile_of(int64_t rows) {
    if constexpr (R > 1) {
        if (rows < R) return tile_of<P, R - 1>(rows);
    }
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
    int64_t steps;
    const uint32_t* b;
    int64_t step_words;
    const uint32_t* next;  // the next panel, or null
    float* c;              // row 0, first column of the panel
    int64_t stride, columns;
    bool resume;
};

template <typename P>
void run_pass(const Pass& pass, const Tiles& tiles, int64_t first, int64_t last) {
    const int64_t row_floats = pass.steps * P::kFloats;
    for (int64_t i = first; i < last; ++i) {
        const int64_t row = tiles.begin(i), rows = tiles.begin(i + 1) - row;
        const TileKernel kernel = tile_of<P>(rows);
        const float* a = pass.packed + (row - tiles.begin(first)) * row_floats;
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

// --- packing: lanes beside each other for every step of k, out[step · width + lane]

inline __attribute__((always_inline)) void transpose(Four (&v)[4]) {
    const Four a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
    const Four b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const Four c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    const Four d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

/// kCount lanes that are rows of words.
template <int kCount>
void transpose_rows(const float* from, int64_t stride, int64_t depth, float* out, int64_t width) {
    int64_t k = 0;
    for (; k + 4 <= depth; k += 4, out += 4 * width) {
        Four v[4] = {};
        each<kCount>([&](auto lane) __attribute__((always_inline)) {
            v[lane] = load_as<Four>(from + lane * stride + k);
        });
        transpose(v);
        each<4>([&](auto i) __attribute__((always_inline)) {
            std::memcpy(out + i * width, &v[i], kCount * sizeof(float));
        });
    }
    from += k;
    for (int64_t i = 0; i < depth % 4; ++i, out += width) {
        for (int lane = 0; lane < kCount; ++lane) out[lane] = from[lane * stride + i];
    }
}

/// Lanes that are rows of words.
void transpose_words(const float* from, int64_t stride, int64_t lanes, int64_t depth, float* out,
                     int64_t width) {
    for (; lanes >= 4; lanes -= 4, from += 4 * stride, out += 4)
        transpose_rows<4>(from, stride, depth, out, width);
    if (lanes == 3) return transpose_rows<3>(from, stride, depth, out, width);
    if (lanes == 2) return transpose_rows<2>(from, stride, depth, out, width);
    if (lanes == 1) return transpose_rows<1>(from, stride, depth, out, width);
}

/// `lanes` lanes of numbers along k; lane l and number k at from[l · lane_stride + k · k_stride].
template <typename T>
struct Lanes {
    const T* from;
    int64_t lane_stride, k_stride, lanes, depth;
    float scale;
};

constexpr int64_t kRun = 64;  // numbers of a lane that are scaled and rounded at a time

/// Numbers k, k + 1, .. of a lane, scaled, rounded and stored by `put` a vector at a time.
template <typename T, typename F>
inline __attribute__((always_inline)) void each_of_lane(const Lanes<T>& l, int64_t lane, int64_t k,
                                                        int64_t count, F put_vector) {
    const T* from = l.from + lane * l.lane_stride + k * l.k_stride;
    if (l.k_stride == 1) {
        each_vector(count,
                    [&](int64_t i, int64_t n) { put_vector(i, n, get(from, i, n) * l.scale); });
        return;
    }
    each_vector(count, [&](int64_t i, int64_t n) {
        float part[kLanes] = {};
        for (int64_t j = 0; j < n; ++j) part[j] = widen(from[(i + j) * l.k_stride]);
        put_vector(i, n, load(part) * l.scale);
    });
}

/// One number a step; lanes lie beside each other in memory.
template <typename P, typename T>
void pack_columns(const Lanes<T>& l, float* out, int64_t width) {
    const T* from = l.from;
    for (int64_t k = 0; k < l.depth; ++k, from += l.k_stride, out += width) {
        each_vector(l.lanes, [&](int64_t i, int64_t n) {
            put(out, i, n, P::rounded(get(from, i, n) * l.scale));
        });
    }
}

/// One number a step, in fp32: of P that is what a packed row has.
template <typename P, typename T>
void pack_numbers(const Lanes<T>& l, float* out, int64_t width) {
    if (l.lane_stride == 1) return pack_columns<P>(l, out, width);
    if constexpr (P::kStorage == Storage::kFloat && std::is_same_v<T, float>) {
        if (l.k_stride == 1 && l.scale == 1)
            return transpose_words(l.from, l.lane_stride, l.lanes, l.depth, out, width);
    }
    alignas(64) float rows[kPanelColumns][kRun];
    for (int64_t k = 0; k < l.depth; k += kRun) {
        const int64_t count = least(kRun, l.depth - k);
        for (int64_t lane = 0; lane < l.lanes; ++lane) {
            each_of_lane(l, lane, k, count, [&](int64_t i, int64_t n, Vec x) {
                put(rows[lane], i, n, P::rounded(x));
            });
        }
        transpose_words(rows[0], kRun, l.lanes, count, out + k * width, width);
    }
}

/// Numbers 2i and 2i + 1 as word i; a missing last one is zero, as what get() pads with.
template <typename T>
void pack_pairs(const Lanes<T>& l, float* out, int64_t width) {
    alignas(64) uint16_t rows[kPanelColumns][kRun];
    for (int64_t k = 0; k < l.depth; k += kRun) {
        const int64_t count = least(kRun, l.depth - k), pairs = (count + 1) / 2;
        for (int64_t lane = 0; lane < l.lanes; ++lane) {
            each_of_lane(l, lane, k, count, [&](int64_t i, int64_t, Vec x) {
                const Halves halves = narrow_vector(x);
                std::memcpy(rows[lane] + i, &halves, sizeof(halves));
            });
        }
        transpose_words(reinterpret_cast<const float*>(rows[0]), kRun / 2, l.lanes, pairs,
                        out + k / 2 * width, width);
    }
}

/// Pairs of which the lanes lie beside each other in memory.
template <typename T>
void pack_pairs_of_columns(const Lanes<T>& l, float* out, int64_t width) {
    for (int64_t k = 0; k < l.depth; k += 2, out += width) {
        const T* even = l.from + k * l.k_stride;
        const T* odd = even + l.k_stride;
        const bool both = k + 1 < l.depth;
        each_vector(l.lanes, [&](int64_t i, int64_t n) {
            const Words low = narrow_words(get(even, i, n) * l.scale);
            const Words high = both ? narrow_words(get(odd, i, n) * l.scale) << 16 : Words{};
            put(out, i, n, (Vec)(low | high));
        });
    }
}

/// Columns of b.
template <typename P, typename T>
void pack_panel(const Lanes<T>& l, float* out) {
    if (l.lanes < kPanelColumns) {
        const int64_t words = steps_of(P::kStorage, l.depth) * kPanelColumns;
        std::memset(out, 0, words * sizeof(float));
    }
    if constexpr (P::kStorage == Storage::kFloat)
        pack_numbers<P>(l, out, kPanelColumns);
    else if (l.lane_stride == 1)
        pack_pairs_of_columns(l, out, kPanelColumns);
    else
        pack_pairs(l, out, kPanelColumns);
}

/// Rows of a.
template <typename P>
void pack_tile(const Lanes<float>& l, float* out) {
    if constexpr (P::kStorage == Storage::kBFloat16 && P::kFloats == 1) {
        l.lane_stride == 1 ? pack_pairs_of_columns(l, out, l.lanes) : pack_pairs(l, out, l.lanes);
    } else {
        pack_numbers<P>(l, out, l.lanes);
        if (P::kFloats == 2 && l.depth % 2 != 0)
            std::memset(out + l.depth * l.lanes, 0, l.lanes * sizeof(float));
    }
}

template <typename P>
int64_t row_floats(int64_t k) {
    return steps_of(P::kStorage, k) * P::kFloats;
}

/// Numbers [from, from + count) of k of the tiles [first, last) of a.
template <typename P>
void pack_tiles(const Product& product, const Tiles& tiles, int64_t first, int64_t last,
                int64_t from, int64_t count, float* out) {
    const Matrix& a = product.a;
    const auto* data = static_cast<const float*>(a.data) + from * a.column_stride;
    for (int64_t i = first; i < last; ++i) {
        const int64_t row = tiles.begin(i), rows = tiles.begin(i + 1) - row;
        pack_tile<P>(
            {data + row * a.row_stride, a.row_stride, a.column_stride, rows, count, product.scale},
            out + (row - tiles.begin(first)) * row_floats<P>(count));
    }
}

// --- panels of a transposed b

/// Words first, first + 2, .. of two vectors.
template <int first>
inline __attribute__((always_inline)) Words every_second(Words a, Words b) {
    return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
        return __builtin_shufflevector(a, b, (2 * I + first)...);
    }
    (std::make_integer_sequence<int, kLanes>{});
}

/// Words of pairs along one side -> of pairs along the other: 16 pairs of 32 lanes -> 32 rows of
/// 16 pairs.
void turn_pairs(const uint32_t* from, int64_t stride, uint32_t (*rows)[kPanelColumns / 2]) {
    for (int64_t p = 0; p < kPanelColumns / 2; ++p, from += stride) {
        for (int64_t q = 0; q < kPanelColumns / 2; q += kLanes) {
            const Words a = load_as<Words>(from + 2 * q), b = load_as<Words>(from + 2 * q + kLanes);
            const Words even = every_second<0>(a, b), odd = every_second<1>(a, b);
            const Words low = (even & 0xFFFF) | odd << 16, high = even >> 16 | (odd & 0xFFFF0000U);
            std::memcpy(rows[2 * p] + q, &low, sizeof(low));
            std::memcpy(rows[2 * p + 1] + q, &high, sizeof(high));
        }
    }
}

/// Steps [from, from + count) of the panel at `column` of b, where `panels` are those of bᵀ.
/// `from` in numbers, a multiple of 32.
template <typename P>
void turn_panel(const Product& product, int64_t column, int64_t from, int64_t count, float* out) {
    const Panels& panels = product.panels;
    const int64_t numbers = numbers_of_step(P::kStorage);
    const int64_t first = column / numbers, all = steps_of(P::kStorage, product.n);
    const int64_t here = least(kPanelColumns / numbers, all - first);
    for (int64_t k = from; k < from + count; k += kPanelColumns) {
        const uint32_t* words =
            panels.words + k / kPanelColumns * panels.panel_words + first * panels.step_words;
        // A processor's own prefetcher does not see the step to the next panel.
        const uint32_t* next = words + (k + kPanelColumns < product.k ? panels.panel_words : 0);
        for (int64_t line = 0; line < 2 * here; ++line) __builtin_prefetch(next + line * 16);
        uint32_t whole[kPanelColumns * kPanelColumns];
        int64_t stride = panels.step_words;
        if (here < kPanelColumns / numbers) {
            std::memset(whole, 0, sizeof(whole));
            for (int64_t i = 0; i < here; ++i)
                std::memcpy(whole + i * kPanelColumns, words + i * stride, kPanelColumns * 4);
            words = whole;
            stride = kPanelColumns;
        }
        float* to = out + (k - from) / numbers * kPanelColumns;
        if constexpr (P::kStorage == Storage::kFloat) {
            transpose_words(reinterpret_cast<const float*>(words), stride, kPanelColumns,
                            kPanelColumns, to, kPanelColumns);
        } else {
            alignas(64) uint32_t rows[kPanelColumns][kPanelColumns / 2];
            turn_pairs(words, stride, rows);
            transpose_words(reinterpret_cast<const float*>(rows[0]), kPanelColumns / 2,
                            kPanelColumns, kPanelColumns / 2, to, kPanelColumns);
        }
    }
}

// --- whole products

/// Numbers [from, from + count) of k of the panel at `column` of b.
template <typename P>
void panel_of(const Product& product, int64_t column, int64_t from, int64_t count, float* out) {
    if (product.form == Form::kTurned) return turn_panel<P>(product, column, from, count, out);
    const Matrix& b = product.b;
    const int64_t columns = least(kPanelColumns, product.n - column);
    const int64_t first = from * b.row_stride + column * b.column_stride;
    const auto run = [&]<typename T>(const T* data) {
        pack_panel<P, T>({data + first, b.column_stride, b.row_stride, columns, count, 1}, out);
    };
    b.kept == Storage::kFloat ? run(static_cast<const float*>(b.data))
                              : run(static_cast<const uint16_t*>(b.data));
}

/// Panels [begin, end), all of k, against tiles [first, last).
template <typename P>
void multiply_panels(const Product& product, const float* packed, const Tiles& tiles, int64_t first,
                     int64_t last, int64_t begin, int64_t end) {
    const typename P::Guard guard{};
    static_cast<void>(guard);
    const Panels& panels = product.panels;
    const int64_t steps = steps_of(P::kStorage, product.k);
    for (int64_t j = begin; j < end; ++j) {
        const uint32_t* words = panels.words + j * panels.panel_words;
        const bool fetches = j + 1 < end && panels.step_words == kPanelColumns;
        run_pass<P>({.packed = packed,
                     .steps = steps,
                     .b = words,
                     .step_words = panels.step_words,
                     .next = fetches ? words + panels.panel_words : nullptr,
                     .c = product.c + j * kPanelColumns,
                     .stride = product.c_stride,
                     .columns = least(kPanelColumns, product.n - j * kPanelColumns),
                     .resume = product.add},
                    tiles, first, last);
    }
}

/// Steps of k that go through all panels together.
int64_t depth_of(int64_t rows) {
    const int64_t steps = kPartBytes / (rows * static_cast<int64_t>(sizeof(float)));
    return least(kMostDepth, most(kLeastDepth, steps / kPanelColumns * kPanelColumns));
}

/// Rows and panels that are packed on the way, a part of k at a time.
template <typename P>
void multiply_packing(const Product& product, const Tiles& tiles, int64_t first, int64_t last,
                      float* panel, float* packed) {
    const typename P::Guard guard{};
    static_cast<void>(guard);
    const int64_t depth =
        depth_of(tiles.begin(last) - tiles.begin(first)) * numbers_of_step(P::kStorage);
    for (int64_t k = 0; k < product.k; k += depth) {
        const int64_t count = least(depth, product.k - k);
        const int64_t steps = steps_of(P::kStorage, count);
        pack_tiles<P>(product, tiles, first, last, k, count, packed);
        for (int64_t column = 0; column < product.n; column += kPanelColumns) {
            panel_of<P>(product, column, k, count, panel);
            run_pass<P>({.packed = packed,
                         .steps = steps,
                         .b = reinterpret_cast<const uint32_t*>(panel),
                         .step_words = kPanelColumns,
                         .next = nullptr,
                         .c = product.c + column,
                         .stride = product.c_stride,
                         .columns = least(kPanelColumns, product.n - column),
                         .resume = product.add || k > 0},
                        tiles, first, last);
        }
    }
}

/// Tiles that are packed at a time.
template <typename P>
int64_t tiles_together(const Product& product) {
    const bool packed = product.form == Form::kPanels;
    const int64_t row = packed ? row_floats<P>(product.k) : kLeastDepth * P::kFloats;
    const int64_t bytes = packed ? kNearBytes : kPartBytes;
    return most(1, bytes / (kTileRows * row * static_cast<int64_t>(sizeof(float))));
}

template <typename P>
void multiply_as(const Product& product, float* scratch) {
    const Tiles tiles(product.m);
    const int64_t together = tiles_together<P>(product);
    const int64_t blocks = (tiles.count + together - 1) / together;
    float* const packed = scratch + kMostDepth * kPanelColumns;
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = tiles.count * block / blocks,
                      last = tiles.count * (block + 1) / blocks;
        if (product.form != Form::kPanels) {
            multiply_packing<P>(product, tiles, first, last, scratch, packed);
            continue;
        }
        pack_tiles<P>(product, tiles, first, last, 0, product.k, packed);
        multiply_panels<P>(product, packed, tiles, first, last, 0, panels_of(product.n));
    }
}

template <typename P>
int64_t scratch_floats(const Product& product) {
    const int64_t rows = least(product.m, (tiles_together<P>(product) + 1) * kTileRows);
    const int64_t all = row_floats<P>(product.k);
    const int64_t part = product.form == Form::kPanels ? all : least(all, kMostDepth * P::kFloats);
    return kMostDepth * kPanelColumns + rows * part + kLanes;
}

/// f(the arithmetic) of a product.
template <typename F>
inline __attribute__((always_inline)) auto with_arithmetic(Storage storage, F f) {
    return storage == Storage::kFloat ? f(FloatSteps{}) : f(PairSteps{});
}

void pack_panels(Storage storage, const Matrix& b, int64_t k, int64_t n, uint32_t* out,
                 int64_t panel_words) {
    Product product{};
    product.n = n;
    product.b = b;
    with_arithmetic(storage, [&]<typename P>(P) {
        for (int64_t column = 0; column < n; column += kPanelColumns, out += panel_words)
            panel_of<P>(product, column, 0, k, reinterpret_cast<float*>(out));
    });
}

int64_t scratch_bytes(const Product& product) {
    return 4 * with_arithmetic(product.storage,
                               [&]<typename P>(P) { return scratch_floats<P>(product); });
}

int64_t packed_bytes(const Product& product) {
    return 4 * with_arithmetic(product.storage, [&]<typename P>(P) {
               return product.m * row_floats<P>(product.k) + kLanes;
           });
}

void pack(const Product& product, int64_t begin, int64_t end, void* packed) {
    with_arithmetic(product.storage, [&]<typename P>(P) {
        const Tiles tiles(product.m);
        auto* out = static_cast<float*>(packed) + tiles.begin(begin) * row_floats<P>(product.k);
        pack_tiles<P>(product, tiles, begin, end, 0, product.k, out);
    });
}

void multiply_packed(const Product& product, const void* packed, int64_t begin, int64_t end) {
    with_arithmetic(product.storage, [&]<typename P>(P) {
        const Tiles tiles(product.m);
        multiply_panels<P>(product, static_cast<const float*>(packed), tiles, 0, tiles.count, begin,
                           end);
    });
}

void multiply_matrices(const Product& product, void* scratch) {
    with_arithmetic(product.storage,
                    [&]<typename P>(P) { multiply_as<P>(product, static_cast<float*>(scratch)); });
}

}  // namespace

}  // namespace grpo::cpu
