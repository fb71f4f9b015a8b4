// Whole products of matrices (gemm.h) from tiles and packing, for kernels_impl.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/gemm.h"
#include "kernels/gemm_pack_impl.h"
#include "kernels/gemm_tile_impl.h"

namespace grpo::cpu {
namespace {

// Packed rows of a stay in the second-level cache while panels pass. Where panels are packed on the
// way it is a part of k of more rows, so that a panel serves many of them.
constexpr int64_t kNearBytes = 384 << 10;
constexpr int64_t kPartBytes = 704 << 10;
constexpr int64_t kMostDepth = 1024;  // steps of a panel that is packed on the way
constexpr int64_t kLeastDepth = 512;

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
                     .row_floats = row_floats<P>(product.k),
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
                         .row_floats = row_floats<P>(count),
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

void transpose_any(const uint32_t* from, int64_t stride, int64_t lanes, int64_t depth,
                   uint32_t* out, int64_t width) {
    transpose_words(reinterpret_cast<const float*>(from), stride, lanes, depth,
                    reinterpret_cast<float*>(out), width);
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
