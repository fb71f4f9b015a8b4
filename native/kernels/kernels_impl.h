// The source of every set of kernels; included once by each kernels_<instruction set>.cc, which
// names the set and says how many floats a vector has (GRPO_LANES) and how large tiles fit the
// registers: columns of products_impl.h (GRPO_COLUMNS), rows and vectors of gemm_impl.h
// (GRPO_TILE_ROWS, GRPO_TILE_VECTORS).
#include "kernels/attend_impl.h"
#include "kernels/gemm_impl.h"
#include "kernels/kernels.h"
#include "kernels/products_impl.h"
#include "kernels/row_kernels_impl.h"

namespace grpo::cpu {

extern const Kernels GRPO_KERNELS;
const Kernels GRPO_KERNELS = {
    .rows =
        {
            .rms_norm = rms_norm,
            .rms_norm_backward = rms_norm_backward,
            .gated = gated,
            .gated_backward = gated_backward,
            .rope = rope,
            .add = add,
            .softcap = softcap,
            .softmax = softmax,
            .softmax_backward = softmax_backward,
            .score = score,
            .score_backward = score_backward,
            .max = max,
            .exp_sum = exp_sum,
            .keep = keep,
        },
    .products =
        {
            .packed_bytes = packed_bytes,
            .pack = pack,
            .dot_products = dot_products,
            .add_weighted_sums = weighted_sums<float>,
            .attend = attend,
            .store = store_as,
        },
    .gemm =
        {
            .tile_rows = kTileRows,
            .tile_columns = kTileColumns,
            .scratch_bytes = scratch_bytes,
            .multiply = multiply_matrices,
        },
};

}  // namespace grpo::cpu
