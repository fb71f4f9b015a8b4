// Rotary position embedding (Su et al. 2021), half-split as in Hugging Face checkpoints:
//   rope(x) = x · cos(p θ) + rotate_half(x) · sin(p θ),  rotate_half([x1, x2]) = [-x2, x1]
// The inverse frequencies θ come with the configuration; scaling variants differ only in them.
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo {

/// cos and sin of one pass, broadcast over heads.
struct RopeTable {
    at::Tensor cos;  // [N, 1, D] model dtype
    at::Tensor sin;  // [N, 1, D]
};

/// positions [N] int64, inv_freq [D / 2] fp32.
RopeTable make_rope_table(const at::Tensor& positions, const at::Tensor& inv_freq, double scaling,
                          at::ScalarType dtype);

/// x [N, H, D] -> [N, H, D]
at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table);

}  // namespace grpo
