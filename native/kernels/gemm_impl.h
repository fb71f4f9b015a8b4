// Products of many rows (gemm.h), for kernels_impl.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/gemm.h"
#include "kernels/vectors_impl.h"

namespace grpo::cpu {
namespace {

constexpr int kTileRows = GRPO_TILE_ROWS;
constexpr int kTileVectors = GRPO_TILE_VECTORS;
constexpr int64_t kTileColumns = kTileVectors * kLanes;

// A panel of b of kDepth by kTileColumns lies in the first-level cache, kNearRows of a and
// kNearColumns of b in the second-level one, kBlockRows of a in the last.
constexpr int64_t kDepth = 384;
constexpr int64_t kNearRows = 96 / kTileRows * kTileRows;
constexpr int64_t kNearColumns = 192 / kTileColumns * kTileColumns;
constexpr int64_t kBlockRows = 2040 / kTileRows * kTileRows;

// --- packing
// A panel is `width` rows of a, or columns of b ("lanes"), beside each other for every k:
// out[k · width + lane].

Four load_four(const float* x) { return load_as<Four>(x); }
Four load_four(const uint16_t* x) {
    typedef uint16_t FourHalves __attribute__((vector_size(8)));
    typedef uint32_t FourWords __attribute__((vector_size(16)));
    return (Four)(__builtin_convertvector(load_as<FourHalves>(x), FourWords) << 16);
}

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

/// Up to four lanes that are rows of memory.
template <typename T, int kCount>
void pack_four(const T* from, int64_t stride, int64_t depth, float* out, int64_t width) {
    int64_t k = 0;
    for (; k + 4 <= depth; k += 4, out += 4 * width) {
        Four v[4] = {};
#pragma GCC unroll 4
        for (int lane = 0; lane < kCount; ++lane) v[lane] = load_four(from + lane * stride + k);
        transpose(v);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) std::memcpy(out + i * width, &v[i], kCount * sizeof(float));
    }
    for (; k < depth; ++k, out += width) {
        for (int lane = 0; lane < kCount; ++lane) out[lane] = widen(from[lane * stride + k]);
    }
}

/// Lanes that are rows of memory. Those beyond `lanes` keep what they have: nothing reads what is
/// computed of them.
template <typename T>
void pack_from_rows(const T* from, int64_t stride, int64_t lanes, int64_t depth, float* out,
                    int64_t width) {
    for (; lanes >= 4; lanes -= 4, from += 4 * stride, out += 4)
        pack_four<T, 4>(from, stride, depth, out, width);
    switch (lanes) {
        case 1:
            return pack_four<T, 1>(from, stride, depth, out, width);
        case 2:
            return pack_four<T, 2>(from, stride, depth, out, width);
        case 3:
            return pack_four<T, 3>(from, stride, depth, out, width);
    }
}

/// Lanes that lie beside each other in memory; those beyond `lanes` become zero.
template <typename T>
void pack_from_columns(const T* from, int64_t stride, int64_t lanes, int64_t depth, float* out,
                       int64_t width) {
    if (lanes == kTileColumns && width == kTileColumns) {
        for (int64_t k = 0; k < depth; ++k, from += stride, out += width) {
            for (int c = 0; c < kTileVectors; ++c) store(out + c * kLanes, load(from + c * kLanes));
        }
        return;
    }
    for (int64_t k = 0; k < depth; ++k, from += stride, out += width) {
        for (int64_t lane = 0; lane < width; ++lane)
            out[lane] = lane < lanes ? widen(from[lane]) : 0;
    }
}

template <typename T>
void pack_panel(const T* from, int64_t lane_stride, int64_t k_stride, int64_t lanes, int64_t depth,
                float* out, int64_t width) {
    if (k_stride == 1) return pack_from_rows(from, lane_stride, lanes, depth, out, width);
    if (lane_stride == 1) return pack_from_columns(from, k_stride, lanes, depth, out, width);
    for (int64_t k = 0; k < depth; ++k) {
        for (int64_t lane = 0; lane < width; ++lane) {
            out[k * width + lane] =
                lane < lanes ? widen(from[lane * lane_stride + k * k_stride]) : 0;
        }
    }
}

// --- tiles

struct Tile {
    const float* a;  // [depth, R]
    const float* b;  // [depth, C vectors]
    int64_t depth;
    float* c;
    int64_t stride;
    int64_t columns;  // of c that exist
    float scale;
    bool add;
};

template <int R, int C>
void run_tile(const Tile& tile) {
    Vec sums[R][C] = {};
    const float *a = tile.a, *b = tile.b;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) __builtin_prefetch(tile.c + r * tile.stride, 1);
    for (int64_t k = 0; k < tile.depth; ++k, a += R, b += C * kLanes) {
        Vec columns[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) columns[c] = load(b + c * kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const Vec row = fill(a[r]);
#pragma GCC unroll 8
            for (int c = 0; c < C; ++c) sums[r][c] += row * columns[c];
        }
    }
    const bool whole = tile.columns == C * kLanes;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
        float* c = tile.c + r * tile.stride;
        float part[C * kLanes];
        if (!whole) {
            std::memcpy(part, c, tile.columns * sizeof(float));
        }
        float* to = whole ? c : part;
#pragma GCC unroll 8
        for (int v = 0; v < C; ++v) {
            const Vec sum = sums[r][v] * tile.scale;
            store(to + v * kLanes, tile.add ? load(to + v * kLanes) + sum : sum);
        }
        if (!whole) std::memcpy(c, part, tile.columns * sizeof(float));
    }
}

using RunTile = void (*)(const Tile&);

template <int R>
RunTile with_vectors(int64_t vectors) {
    if constexpr (kTileVectors > 2) {
        if (vectors == 3) return run_tile<R, 3>;
        if (vectors == 4) return run_tile<R, kTileVectors>;
    }
    return vectors == 1 ? run_tile<R, 1> : run_tile<R, 2>;
}

/// The tile of that size, at most kTileRows by kTileVectors.
template <int R = kTileRows>
RunTile tile_of(int64_t rows, int64_t vectors) {
    if constexpr (R > 1) {
        if (rows < R) return tile_of<R - 1>(rows, vectors);
    }
    return with_vectors<R>(vectors);
}

// --- blocks

/// The size of parts of about one size, none above `most`.
int64_t even_part(int64_t size, int64_t most, int64_t multiple) {
    const int64_t parts = (size + most - 1) / most;
    const int64_t part = (size + parts - 1) / parts;
    return (part + multiple - 1) / multiple * multiple;
}

/// Rows of a block of a, packed, against packed columns of b.
void multiply_packed(const float* a, const float* b, int64_t rows, int64_t columns, int64_t depth,
                     Tile tile) {
    float* const c = tile.c;
    for (int64_t i = 0; i < rows; i += kNearRows) {
        const int64_t end = least(i + kNearRows, rows);
        for (int64_t j = 0; j < columns; j += kTileColumns) {
            tile.columns = least(kTileColumns, columns - j);
            tile.b = b + j * depth;
            const int64_t vectors = (tile.columns + kLanes - 1) / kLanes;
            const RunTile whole = tile_of(kTileRows, vectors);
            for (int64_t r = i; r < end; r += kTileRows) {
                const int64_t here = least(kTileRows, end - r);
                tile.a = a + r * depth;
                tile.c = c + r * tile.stride + j;
                (here == kTileRows ? whole : tile_of(here, vectors))(tile);
            }
        }
    }
}

int64_t depth_of(const Product& product) { return even_part(product.k, kDepth, 8); }
int64_t block_of(const Product& product) { return even_part(product.m, kBlockRows, kTileRows); }

void pack_block(const Matrix& a, int64_t row, int64_t k, int64_t rows, int64_t depth, float* out) {
    const float* from =
        static_cast<const float*>(a.data) + row * a.row_stride + k * a.column_stride;
    for (int64_t r = 0; r < rows; r += kTileRows) {
        const int64_t lanes = least(kTileRows, rows - r);
        pack_panel(from + r * a.row_stride, a.row_stride, a.column_stride, lanes, depth,
                   out + r * depth, lanes);
    }
}

template <typename T>
void pack_columns_of(const Matrix& b, int64_t k, int64_t column, int64_t depth, int64_t columns,
                     float* out) {
    const T* from = static_cast<const T*>(b.data) + k * b.row_stride + column * b.column_stride;
    for (int64_t j = 0; j < columns; j += kTileColumns) {
        const int64_t lanes = least(kTileColumns, columns - j);
        pack_panel(from + j * b.column_stride, b.column_stride, b.row_stride, lanes, depth,
                   out + j * depth, (lanes + kLanes - 1) / kLanes * kLanes);
    }
}

template <typename T>
void multiply_as(const Product& product, float* a_packed) {
    const int64_t most_depth = depth_of(product), block = block_of(product);
    float* const b_packed = a_packed + block * most_depth;
    for (int64_t i = 0; i < product.m; i += block) {
        const int64_t rows = least(block, product.m - i);
        for (int64_t k = 0; k < product.k; k += most_depth) {
            const int64_t depth = least(most_depth, product.k - k);
            pack_block(product.a, i, k, rows, depth, a_packed);
            for (int64_t j = 0; j < product.n; j += kNearColumns) {
                const int64_t columns = least(kNearColumns, product.n - j);
                pack_columns_of<T>(product.b, k, j, depth, columns, b_packed);
                Tile tile{};
                tile.depth = depth;
                tile.c = product.c + i * product.c_stride + j;
                tile.stride = product.c_stride;
                tile.scale = product.scale;
                tile.add = product.add || k > 0;
                multiply_packed(a_packed, b_packed, rows, columns, depth, tile);
            }
        }
    }
}

int64_t scratch_bytes(const Product& product) {
    const int64_t columns = least(kNearColumns, product.n + kTileColumns);
    return (block_of(product) + columns) * depth_of(product) * static_cast<int64_t>(sizeof(float));
}

void multiply_matrices(const Product& product, void* scratch) {
    auto* packed = static_cast<float*>(scratch);
    product.b.storage == Storage::kFloat ? multiply_as<float>(product, packed)
                                         : multiply_as<uint16_t>(product, packed);
}

}  // namespace

}  // namespace grpo::cpu
