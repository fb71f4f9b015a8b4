// c = a b for matrices of any size on a CPU, in fp32. The plain version is at::mm.
//
// Blocks and packing are those of Goto and van de Geijn, Anatomy of High-Performance Matrix
// Multiplication (2008): a tile of c stays in registers, a panel of b in the first-level cache, a
// block of a in the second-level one. Each element of c is summed in the same order whatever the
// other rows and columns are and however many threads share the work.
#pragma once

#include <cstdint>

#include "kernels/products.h"

namespace grpo::cpu {

/// Element (i, j) stands at data[i · row_stride + j · column_stride].
struct Matrix {
    const void* data;
    Storage storage;
    int64_t row_stride, column_stride;
};

/// c [m, n] = scale · a b, or += with `add`; a [m, k] in fp32, b [k, n] widened while it is packed.
struct Product {
    int64_t m, n, k;
    Matrix a, b;
    float* c;
    int64_t c_stride;  // between rows
    float scale = 1;
    bool add = false;
};

struct GemmKernels {
    int64_t tile_rows, tile_columns;
    /// At an address that is a multiple of 64.
    int64_t (*scratch_bytes)(const Product& product);
    /// On the calling thread; m, n and k above 0.
    void (*multiply)(const Product& product, void* scratch);
};

/// The GEMM kernels that are used.
const GemmKernels& gemm_kernels();

/// On as many threads as are worth it.
void multiply(const GemmKernels& kernels, const Product& product);

}  // namespace grpo::cpu
