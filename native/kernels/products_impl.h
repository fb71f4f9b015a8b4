// Products of few rows (products.h), for kernels_impl.h. They run over tiles of R rows of x by C
// rows of the weight, R·C sums kept in registers, the sum going over whole vectors of k; weights
// are read from memory once for all rows, in its order.
#pragma once

#if defined(GRPO_BF16_PAIRS)
#include <immintrin.h>
#endif

#include <type_traits>
#include <utility>

#include "kernels/products.h"
#include "kernels/vectors_impl.h"

namespace grpo::cpu {
namespace {

constexpr int kRows = kPackedRows;
constexpr int kColumns = GRPO_COLUMNS;  // of a tile of four rows: sums, weights, x and a mask fit
constexpr int64_t kGroupBytes = 16 << 10;  // of weights that stay in the second-level cache
constexpr int64_t kNearBytes = 32 << 10;   // the first-level cache

/// f(0), f(1), .. as constants. Loops over registers are written so, because a compiler that
/// unrolls a loop itself does it after it has placed the arrays in memory.
template <int N, typename F>
inline __attribute__((always_inline)) void each(F f) {
    [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
        (f(std::integral_constant<int, I>{}), ...);
    }
    (std::make_integer_sequence<int, N>{});
}

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

/// Elements first, first + 2, .. of two vectors.
template <int first>
Vec every_second(Vec a, Vec b) {
    return [&]<int... I>(std::integer_sequence<int, I...>) {
        return __builtin_shufflevector(a, b, (2 * I + first)...);
    }
    (std::make_integer_sequence<int, kLanes>{});
}

// How a type of weight is multiplied: a block of k takes two passes over vectors. x is packed as
// tiles of up to four rows, in the order of use: [tile][block][pass][row][lanes].

struct FloatDot {
    using Weight = float;
    using X = Vec;
    static constexpr int64_t kBlock = 2 * kLanes;  // of k
    template <int pass>
    static Vec weights(const float* w) {
        return load(w + pass * kLanes);
    }
    static Vec add(Vec sum, X x, Vec w) { return sum + x * w; }
    template <int pass>
    static X pack(const float* x) {
        return load(x + pass * kLanes);
    }
};

#if defined(GRPO_BF16_PAIRS)
struct HalfDot {
    using Weight = uint16_t;
    using X = __m512bh;
    static constexpr int64_t kBlock = 4 * kLanes;
    template <int pass>
    static X weights(const uint16_t* w) {
        return load_as<X>(w + pass * 2 * kLanes);
    }
    static Vec add(Vec sum, X x, X w) { return (Vec)_mm512_dpbf16_ps((__m512)sum, x, w); }
    template <int pass>
    static X pack(const float* x) {
        x += pass * 2 * kLanes;
        return _mm512_cvtne2ps_pbh((__m512)load(x + kLanes), (__m512)load(x));
    }
};
#else
/// Read as words of two: the even ones in the first pass, the odd ones in the second, so that
/// widening costs one shift or one mask.
struct HalfDot {
    using Weight = uint16_t;
    using X = Vec;
    static constexpr int64_t kBlock = 2 * kLanes;
    template <int pass>
    static Vec weights(const uint16_t* w) {
        const Words words = load_as<Words>(w);
        return (Vec)(pass == 0 ? words << 16 : words & 0xFFFF0000U);
    }
    static Vec add(Vec sum, X x, Vec w) { return sum + x * w; }
    template <int pass>
    static X pack(const float* x) {
        return every_second<pass>(load(x), load(x + kLanes));
    }
};
#endif

/// Vectors of a packed tile of `rows` rows.
template <typename P>
int64_t packed_size(int64_t rows, int64_t in) {
    return (in + P::kBlock - 1) / P::kBlock * 2 * rows;
}

template <typename P>
void pack_rows(const float* x, int64_t rows, int64_t in, typename P::X* out) {
    const int64_t whole = in / P::kBlock * P::kBlock;
    for (; rows > 0; rows -= kRows, x += kRows * in) {
        const int64_t tile = least(kRows, rows);
        for (int64_t k = 0; k < whole; k += P::kBlock, out += 2 * tile) {
            for (int64_t r = 0; r < tile; ++r) {
                out[r] = P::template pack<0>(x + r * in + k);
                out[tile + r] = P::template pack<1>(x + r * in + k);
            }
        }
        if (whole == in) continue;
        for (int64_t r = 0; r < tile; ++r) {
            float rest[P::kBlock] = {};
            std::memcpy(rest, x + r * in + whole, (in - whole) * sizeof(float));
            out[r] = P::template pack<0>(rest);
            out[tile + r] = P::template pack<1>(rest);
        }
        out += 2 * tile;
    }
}

/// Lines of memory ahead. A processor's own prefetcher follows one stream well and several short
/// ones badly, so tiles of several columns fetch the next ones themselves, in linear order.
struct Ahead {
    const char* from;
    int64_t step;  // bytes a block
};

/// Few sums would wait for each other: then the two passes have sums of their own.
template <int R, int C>
constexpr int kSets = R* C < 8 ? 2 : 1;

template <typename P, int R, int C>
inline __attribute__((always_inline)) void add_block(Vec (&sums)[kSets<R, C>][R][C],
                                                     const typename P::X* x,
                                                     const typename P::Weight* w,
                                                     int64_t w_stride) {
    each<2>([&](auto pass) __attribute__((always_inline)) {
        decltype(P::template weights<0>(w)) columns[C];
        each<C>([&](auto c) __attribute__((always_inline)) {
            columns[c] = in_register(P::template weights<pass>(w + c * w_stride));
        });
        each<R>([&](auto r) __attribute__((always_inline)) {
            const typename P::X row = in_register(x[pass * R + r]);
            each<C>([&](auto c) __attribute__((always_inline)) {
                Vec& sum = sums[pass % kSets<R, C>][r][c];
                sum = P::add(sum, row, columns[c]);
            });
        });
    });
}

/// R rows of packed x against C rows of the weight, fetching kLines lines a block.
template <typename P, int R, int C, int kLines>
void tile(const typename P::X* x, const typename P::Weight* w, int64_t in, float* y, int64_t stride,
          Ahead ahead) {
    constexpr int S = kSets<R, C>;
    Vec sums[S][R][C];
    each<S * R * C>([&](auto i) __attribute__((always_inline)) {
        sums[i / (R * C)][i / C % R][i % C] = Vec{};
    });
    int64_t k = 0;
    for (; k + P::kBlock <= in; k += P::kBlock, x += 2 * R) {
        for (int line = 0; line < kLines; ++line) __builtin_prefetch(ahead.from + line * 64);
        ahead.from += ahead.step;
        add_block<P, R, C>(sums, x, w + k, in);
    }
    if (k < in) {
        typename P::Weight rest[C][P::kBlock] = {};
        for (int c = 0; c < C; ++c) std::memcpy(rest[c], w + c * in + k, (in - k) * sizeof(*w));
        add_block<P, R, C>(sums, x, rest[0], P::kBlock);
    }
    each<C>([&](auto c) __attribute__((always_inline)) {
        if constexpr (S == 2) {
            each<R>([&](auto r)
                        __attribute__((always_inline)) { sums[0][r][c] += sums[S - 1][r][c]; });
        }
        if constexpr (R == kRows) {
            const Four total = sums_of(sums[0][0][c], sums[0][1][c], sums[0][2][c], sums[0][3][c]);
            for (int r = 0; r < R; ++r) y[r * stride + c] = total[r];
        } else {
            each<R>([&](auto r) __attribute__((always_inline)) {
                y[r * stride + c] = sum_of(sums[0][r][c]);
            });
        }
    });
}

/// As many columns as there are, C at a time, against R rows.
template <typename P, int R, int C, int kLines>
void tiles(const typename P::X* x, const typename P::Weight* w, int64_t in, int64_t count, float* y,
           int64_t stride, Ahead ahead) {
    for (int64_t n = 0; n < count; n += C) {
        tile<P, R, C, kLines>(x, w + n * in, in, y + n, stride, ahead);
        ahead.from += in / P::kBlock * ahead.step;
    }
}

/// All rows against `count` rows of the weight, a multiple of C: they are in the second-level cache
/// after the first tile of rows. The first two share in fetching the next group.
template <typename P, int C>
void columns(const typename P::X* x, int64_t rows, const typename P::Weight* w, int64_t in,
             int64_t count, float* y, int64_t stride) {
    constexpr int64_t kBytes = C * P::kBlock * static_cast<int64_t>(sizeof(*w));  // a block
    constexpr int kAll = (kBytes + 63) / 64, kHalf = (kBytes / 2 + 63) / 64;
    const auto* next = reinterpret_cast<const char*>(w + count * in);
    const int64_t x_tile = packed_size<P>(kRows, in);
    int64_t r = kRows;
    if (rows < kRows) {
        const auto run = rows == 1   ? tiles<P, 1, C, kAll>
                         : rows == 2 ? tiles<P, 2, C, kAll>
                                     : tiles<P, 3, C, kAll>;
        return run(x, w, in, count, y, stride, {next, kBytes});
    }
    if (rows < 2 * kRows) {
        tiles<P, kRows, C, kAll>(x, w, in, count, y, stride, {next, kBytes});
    } else {
        const Ahead first{next, kBytes / 2};
        const Ahead second{next + count / C * (in / P::kBlock) * (kBytes / 2), kBytes / 2};
        tiles<P, kRows, C, kHalf>(x, w, in, count, y, stride, first);
        tiles<P, kRows, C, kHalf>(x + x_tile, w, in, count, y + kRows * stride, stride, second);
        r = 2 * kRows;
    }
    for (; r + kRows <= rows; r += kRows) {
        tiles<P, kRows, C, 0>(x + r / kRows * x_tile, w, in, count, y + r * stride, stride, {});
    }
    x += r / kRows * x_tile;
    y += r * stride;
    switch (rows - r) {
        case 1:
            return tiles<P, 1, C, 0>(x, w, in, count, y, stride, {});
        case 2:
            return tiles<P, 2, C, 0>(x, w, in, count, y, stride, {});
        case 3:
            return tiles<P, 3, C, 0>(x, w, in, count, y, stride, {});
    }
}

template <typename P>
void products(const void* packed, int64_t rows, const void* weight, int64_t in, float* y,
              int64_t stride, int64_t begin, int64_t end) {
    const auto* x = static_cast<const typename P::X*>(packed);
    const auto* w = static_cast<const typename P::Weight*>(weight);
    int64_t n = begin;
    constexpr int C = kColumns;
    const int64_t tile_bytes = C * in * static_cast<int64_t>(sizeof(*w));
    // Columns side by side share what is read of x; fetched ahead, they take room beside it.
    if (rows >= kRows || (rows > 1 && tile_bytes <= kNearBytes)) {
        const int64_t group = rows < 2 * kRows ? C : C * most(1, kGroupBytes / tile_bytes);
        while (n + C <= end) {
            const int64_t count = least(group, (end - n) / C * C);
            columns<P, C>(x, rows, w + n * in, in, count, y + n, stride);
            n += count;
        }
        if (n < end) columns<P, 1>(x, rows, w + n * in, in, end - n, y + n, stride);
        return;
    }
    // One column after the other: a single stream.
    const auto run = rows == 1   ? tiles<P, 1, 1, 0>
                     : rows == 2 ? tiles<P, 2, 1, 0>
                                 : tiles<P, 3, 1, 0>;
    run(x, w + n * in, in, end - n, y + n, stride, {});
}

int64_t packed_bytes(int64_t rows, int64_t in) {
    const int64_t bytes = rows * (in + 4 * kLanes) * static_cast<int64_t>(sizeof(float));
    return (bytes + 63) / 64 * 64;
}

void pack(Storage storage, const float* x, int64_t in, int64_t begin, int64_t end, void* packed) {
    const auto run = [&]<typename P>(P) {
        auto* out = static_cast<typename P::X*>(packed) + begin / kRows * packed_size<P>(kRows, in);
        pack_rows<P>(x + begin * in, end - begin, in, out);
    };
    storage == Storage::kFloat ? run(FloatDot{}) : run(HalfDot{});
}

void dot_products(Storage storage, const void* packed, int64_t rows, const void* weight, int64_t in,
                  float* y, int64_t stride, int64_t begin, int64_t end) {
    const auto run = storage == Storage::kFloat ? products<FloatDot> : products<HalfDot>;
    run(packed, rows, weight, in, y, stride, begin, end);
}

/// R rows of weights over C vectors of the width.
template <typename T, int R, int C>
void sums_tile(const float* p, int64_t p_stride, const T* v, int64_t count, int64_t width, float* y,
               int64_t y_stride) {
    Vec sums[R][C];
    for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) sums[r][c] = load(y + r * y_stride + c * kLanes);
    }
    for (int64_t j = 0; j < count; ++j) {
        Vec values[C];
        for (int c = 0; c < C; ++c) values[c] = load(v + j * width + c * kLanes);
        for (int r = 0; r < R; ++r) {
            for (int c = 0; c < C; ++c) sums[r][c] += p[r * p_stride + j] * values[c];
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) store(y + r * y_stride + c * kLanes, sums[r][c]);
    }
}

template <typename T, int R>
void sums_rows(const float* p, int64_t p_stride, const T* v, int64_t count, int64_t width, float* y,
               int64_t y_stride) {
    int64_t d = 0;
    for (; d + 2 * kLanes <= width; d += 2 * kLanes)
        sums_tile<T, R, 2>(p, p_stride, v + d, count, width, y + d, y_stride);
    for (; d + kLanes <= width; d += kLanes)
        sums_tile<T, R, 1>(p, p_stride, v + d, count, width, y + d, y_stride);
    for (; d < width; ++d) {
        for (int r = 0; r < R; ++r) {
            float sum = y[r * y_stride + d];
            for (int64_t j = 0; j < count; ++j)
                sum += p[r * p_stride + j] * widen(v[j * width + d]);
            y[r * y_stride + d] = sum;
        }
    }
}

template <typename T>
void weighted_sums(const float* p, int64_t p_stride, int64_t rows, const T* v, int64_t count,
                   int64_t width, float* y, int64_t y_stride) {
    int64_t r = 0;
    for (; r + kRows <= rows; r += kRows)
        sums_rows<T, kRows>(p + r * p_stride, p_stride, v, count, width, y + r * y_stride,
                            y_stride);
    for (; r < rows; ++r)
        sums_rows<T, 1>(p + r * p_stride, p_stride, v, count, width, y + r * y_stride, y_stride);
}

void store_as(Storage storage, const float* x, int64_t size, void* out) {
    if (storage == Storage::kFloat) {
        std::memcpy(out, x, size * sizeof(float));
        return;
    }
    auto* halves = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < size; ++i) halves[i] = narrow(x[i]);
}

}  // namespace
}  // namespace grpo::cpu
