#include "kernels/gemm.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace grpo::cpu {
namespace {

constexpr int64_t kPackCost = 8;  // multiplications that packing a number takes as long as
/// Rows up to which a is packed once for all threads, who take panels as they come: reading b is
/// then what takes the time.
constexpr int64_t kFewRows = 48;
/// Reading a weight costs as much as multiplying it this often.
constexpr int64_t kReadCost = 4;

int64_t divided(int64_t a, int64_t b) { return (a + b - 1) / b; }

Scratch& scratch_of_thread() {
    static thread_local Scratch scratch;
    return scratch;
}

/// How the threads share c: each takes one part, and packs what it needs for itself.
struct Grid {
    int64_t rows = 1, columns = 1;
};

Grid grid_of(const GemmKernels& kernels, const Product& product) {
    if (at::in_parallel_region()) return {};
    const int64_t worth = product.m * product.n * product.k / kWorkOfThread;
    const int64_t threads = std::clamp<int64_t>(worth, 1, at::get_num_threads());
    const int64_t row_tiles = divided(product.m, kernels.tile_rows);
    const int64_t panels = panels_of(product.n);
    const int64_t cost_of_b = product.form == Form::kPanels ? 1 : kPackCost;
    Grid best;
    int64_t least = 0;
    for (int64_t rows = 1; rows <= threads; ++rows) {
        const Grid grid{rows, threads / rows};
        const int64_t m = divided(row_tiles, grid.rows) * kernels.tile_rows;
        const int64_t n = divided(panels, grid.columns) * kPanelColumns;
        const int64_t cost = m * n + kPackCost * m + cost_of_b * n;  // for each k
        if (rows > 1 && cost >= least) continue;
        least = cost;
        best = grid;
    }
    return {std::min(best.rows, row_tiles), std::min(best.columns, panels)};
}

/// Rows [from, to) and columns alike: part `index` of `parts`, in whole tiles.
struct Range {
    Range(int64_t size, int64_t tile, int64_t index, int64_t parts)
        : from(divided(size, tile) * index / parts * tile),
          to(std::min(size, divided(size, tile) * (index + 1) / parts * tile)) {}
    int64_t from, to;
};

/// Begins `elements` further on.
Matrix moved(Matrix matrix, int64_t elements) {
    matrix.data =
        static_cast<const char*>(matrix.data) + elements * (matrix.kept == Storage::kFloat ? 4 : 2);
    return matrix;
}

Product part_of(const Product& product, const Range& rows, const Range& columns) {
    Product part = product;
    part.m = rows.to - rows.from;
    part.n = columns.to - columns.from;
    part.a = moved(product.a, rows.from * product.a.row_stride);
    if (part.row_scales != nullptr) part.row_scales += rows.from;
    part.c += rows.from * product.c_stride + columns.from;
    switch (product.form) {
        case Form::kMatrix:
            part.b = moved(product.b, columns.from * product.b.column_stride);
            break;
        case Form::kPanels:
            part.panels.words += columns.from / kPanelColumns * product.panels.panel_words;
            break;
        case Form::kTurned:
            part.panels.words +=
                columns.from / numbers_of_step(product.storage) * product.panels.step_words;
            break;
    }
    return part;
}

void multiply_few(const GemmKernels& kernels, const Product& product) {
    void* packed = scratch_of_thread().bytes(kernels.packed_bytes(product));
    const int64_t tiles = tiles_of(product.m, kernels.tile_rows);
    parallel(tiles, kernels.tile_rows * product.k * kPackCost,
             [&](int64_t begin, int64_t end) { kernels.pack(product, begin, end, packed); });
    const int64_t cost = kPanelColumns * product.k * std::max(product.m, kReadCost);
    parallel(panels_of(product.n), cost, [&](int64_t begin, int64_t end) {
        kernels.multiply_packed(product, packed, begin, end);
    });
}

}  // namespace

void multiply_alone(const GemmKernels& kernels, const Product& product) {
    kernels.multiply(product, scratch_of_thread().bytes(kernels.scratch_bytes(product)));
}

void multiply(const GemmKernels& kernels, const Product& product) {
    if (product.form == Form::kPanels && (product.m <= kFewRows || Team::current() != nullptr)) {
        for (int64_t row = 0; row < product.m; row += kFewRows) {
            const Range rows(product.m, kFewRows, row / kFewRows, divided(product.m, kFewRows));
            multiply_few(kernels, part_of(product, rows, {product.n, product.n, 0, 1}));
        }
        return;
    }
    const Grid grid = grid_of(kernels, product);
    const auto run = [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const Range rows(product.m, kernels.tile_rows, i / grid.columns, grid.rows);
            const Range columns(product.n, kPanelColumns, i % grid.columns, grid.columns);
            multiply_alone(kernels, part_of(product, rows, columns));
        }
    };
    const int64_t parts = grid.rows * grid.columns;
    parts == 1 ? run(0, 1) : at::parallel_for(0, parts, 1, run);
}

}  // namespace grpo::cpu
