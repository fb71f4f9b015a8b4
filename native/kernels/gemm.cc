#include "kernels/gemm.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/linear.h"
#include "kernels/parallel.h"

namespace grpo::cpu {
namespace {

constexpr int64_t kPackCost = 8;  // multiplications that packing an element takes as long as

int64_t divided(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// How the threads share c: each takes one part, and packs what it needs for itself.
struct Grid {
    int64_t rows = 1, columns = 1;
};

Grid grid_of(const GemmKernels& kernels, const Product& product) {
    if (at::in_parallel_region()) return {};
    const int64_t worth = product.m * product.n * product.k / kWorkOfThread;
    const int64_t threads = std::clamp<int64_t>(worth, 1, at::get_num_threads());
    const int64_t row_tiles = divided(product.m, kernels.tile_rows);
    const int64_t column_tiles = divided(product.n, kernels.tile_columns);
    Grid best;
    int64_t least = 0;
    for (int64_t rows = 1; rows <= threads; ++rows) {
        const Grid grid{rows, threads / rows};
        const int64_t m = divided(row_tiles, grid.rows) * kernels.tile_rows;
        const int64_t n = divided(column_tiles, grid.columns) * kernels.tile_columns;
        const int64_t cost = m * n + kPackCost * (m + n);  // for each k
        if (rows > 1 && cost >= least) continue;
        least = cost;
        best = grid;
    }
    return {std::min(best.rows, row_tiles), std::min(best.columns, column_tiles)};
}

/// Rows [from, to) and columns alike: part `index` of `parts`, in whole tiles.
struct Range {
    Range(int64_t size, int64_t tile, int64_t index, int64_t parts)
        : from(divided(size, tile) * index / parts * tile),
          to(std::min(size, divided(size, tile) * (index + 1) / parts * tile)) {}
    int64_t from, to;
};

Product part_of(const Product& product, const Range& rows, const Range& columns) {
    const auto moved = [](Matrix matrix, int64_t elements) {
        const int64_t bytes = matrix.storage == Storage::kFloat ? 4 : 2;
        matrix.data = static_cast<const char*>(matrix.data) + elements * bytes;
        return matrix;
    };
    Product part = product;
    part.m = rows.to - rows.from;
    part.n = columns.to - columns.from;
    part.a = moved(product.a, rows.from * product.a.row_stride);
    part.b = moved(product.b, columns.from * product.b.column_stride);
    part.c += rows.from * product.c_stride + columns.from;
    return part;
}

}  // namespace

void multiply(const GemmKernels& kernels, const Product& product) {
    const Grid grid = grid_of(kernels, product);
    const auto run = [&](int64_t begin, int64_t end) {
        static thread_local Scratch scratch;
        for (int64_t i = begin; i < end; ++i) {
            const Range rows(product.m, kernels.tile_rows, i / grid.columns, grid.rows);
            const Range columns(product.n, kernels.tile_columns, i % grid.columns, grid.columns);
            const Product part = part_of(product, rows, columns);
            kernels.multiply(part, scratch.bytes(kernels.scratch_bytes(part)));
        }
    };
    const int64_t parts = grid.rows * grid.columns;
    parts == 1 ? run(0, 1) : at::parallel_for(0, parts, 1, run);
}

}  // namespace grpo::cpu
