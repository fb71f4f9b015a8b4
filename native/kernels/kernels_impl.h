// The source of every set of kernels; included once by each kernels_<instruction set>.cc, which
// names the set and says how many floats a vector has (GRPO_LANES), and of the tiles of gemm_impl.h
// the rows (GRPO_TILE_ROWS) and the vectors of sums that the registers hold (GRPO_TILE_SUMS).
#include "kernels/gemm_impl.h"
#include "kernels/kernels.h"
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
            .softmax_terms = softmax_terms,
            .softmax_backward = softmax_backward,
            .narrow = narrow_row,
            .score = score,
            .score_backward = score_backward,
            .max = max,
            .exp_sum = exp_sum,
            .keep = keep,
        },
    .gemm =
        {
            .tile_rows = kTileRows,
            .packed_bytes = packed_bytes,
            .pack = pack,
            .multiply_packed = multiply_packed,
            .pack_panels = pack_panels,
            .transpose = transpose_any,
            .scratch_bytes = scratch_bytes,
            .multiply = multiply_matrices,
        },
};

}  // namespace grpo::cpu
