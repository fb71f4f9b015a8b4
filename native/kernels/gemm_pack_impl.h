// What is multiplied, as the tiles read it (gemm.h): rows of a, and columns of a b that is a matrix
// or the panels of its transpose.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/gemm.h"
#include "kernels/gemm_tile_impl.h"
#include "kernels/vectors_impl.h"

namespace grpo::cpu {
namespace {

// --- transposing

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

// --- rows of a: lines of 32 numbers, those of a tile's rows after each other

/// Numbers [i, i + kLanes) of a line.
template <typename P>
void put_numbers(float* line, int64_t i, Vec x) {
    if constexpr (P::kLineFloats == kLineNumbers) {
        store(line + i, P::rounded(x));
    } else {
        const Halves halves = narrow_vector(x);
        std::memcpy(line + i / 2, &halves, sizeof(halves));
    }
}

/// Lane l also times scales[l], where there are any.
template <typename P>
void pack_rows(const Lanes<float>& l, const float* scales, float* out) {
    for (int64_t k = 0; k < l.depth; k += kLineNumbers) {
        const int64_t count = least(kLineNumbers, l.depth - k);
        Lanes<float> part = l;
        alignas(64) float turned[kTileRows][kLineNumbers];
        if (l.lane_stride == 1 && l.k_stride != 1) {
            transpose_words(l.from + k * l.k_stride, l.k_stride, count, l.lanes, turned[0],
                            kLineNumbers);
            part = {turned[0] - k, kLineNumbers, 1, l.lanes, l.depth, l.scale};
        }
        for (int64_t lane = 0; lane < l.lanes; ++lane, out += P::kLineFloats) {
            if (scales != nullptr) part.scale = l.scale * scales[lane];
            if (count == kLineNumbers && part.k_stride == 1) {  // as almost all are
                const float* from = part.from + lane * part.lane_stride + k;
                each<kLineNumbers / kLanes>([&](auto i) __attribute__((always_inline)) {
                    put_numbers<P>(out, i * kLanes, load(from + i * kLanes) * part.scale);
                });
                continue;
            }
            each_of_lane(part, lane, k, count,
                         [&](int64_t i, int64_t, Vec x) { put_numbers<P>(out, i, x); });
        }
    }
}

/// Numbers [from, from + count) of k of the tiles [first, last) of a.
template <typename P>
void pack_tiles(const Product& product, const Tiles& tiles, int64_t first, int64_t last,
                int64_t from, int64_t count, float* out) {
    const Matrix& a = product.a;
    const auto* data = static_cast<const float*>(a.data) + from * a.column_stride;
    for (int64_t i = first; i < last; ++i) {
        const int64_t row = tiles.begin(i), rows = tiles.begin(i + 1) - row;
        const float* scales = product.row_scales == nullptr ? nullptr : product.row_scales + row;
        pack_rows<P>(
            {data + row * a.row_stride, a.row_stride, a.column_stride, rows, count, product.scale},
            scales, out + (row - tiles.begin(first)) * row_floats<P>(count));
    }
}

// --- columns of b: 32 beside each other for every step of k

/// One number a step; columns lie beside each other in memory.
template <typename T>
void pack_columns(const Lanes<T>& l, float* out) {
    const T* from = l.from;
    for (int64_t k = 0; k < l.depth; ++k, from += l.k_stride, out += kPanelColumns) {
        each_vector(l.lanes,
                    [&](int64_t i, int64_t n) { put(out, i, n, get(from, i, n) * l.scale); });
    }
}

/// One number a step.
template <typename T>
void pack_numbers(const Lanes<T>& l, float* out) {
    if (l.lane_stride == 1) return pack_columns(l, out);
    if constexpr (std::is_same_v<T, float>) {
        if (l.k_stride == 1 && l.scale == 1)
            return transpose_words(l.from, l.lane_stride, l.lanes, l.depth, out, kPanelColumns);
    }
    alignas(64) float rows[kPanelColumns][kRun];
    for (int64_t k = 0; k < l.depth; k += kRun) {
        const int64_t count = least(kRun, l.depth - k);
        for (int64_t lane = 0; lane < l.lanes; ++lane) {
            each_of_lane(l, lane, k, count,
                         [&](int64_t i, int64_t n, Vec x) { put(rows[lane], i, n, x); });
        }
        transpose_words(rows[0], kRun, l.lanes, count, out + k * kPanelColumns, kPanelColumns);
    }
}

/// Numbers 2i and 2i + 1 as word i; a missing last one is zero, as what get() pads with.
template <typename T>
void pack_pairs(const Lanes<T>& l, float* out) {
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
                        out + k / 2 * kPanelColumns, kPanelColumns);
    }
}

/// Pairs of which the lanes lie beside each other in memory.
template <typename T>
void pack_pairs_of_columns(const Lanes<T>& l, float* out) {
    for (int64_t k = 0; k < l.depth; k += 2, out += kPanelColumns) {
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

template <typename P, typename T>
void pack_panel(const Lanes<T>& l, float* out) {
    if (l.lanes < kPanelColumns) {
        const int64_t words = steps_of(P::kStorage, l.depth) * kPanelColumns;
        std::memset(out, 0, words * sizeof(float));
    }
    if constexpr (P::kStorage == Storage::kFloat)
        pack_numbers(l, out);
    else if (l.lane_stride == 1)
        pack_pairs_of_columns(l, out);
    else
        pack_pairs(l, out);
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

}  // namespace
}  // namespace grpo::cpu
