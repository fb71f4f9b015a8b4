// Rotary position embedding (Su et al. 2021), half-split as in Hugging Face checkpoints:
//   rope(x) = x · cos(p θ) + rotate_half(x) · sin(p θ),  rotate_half([x1, x2]) = [-x2, x1]
// The inverse frequencies θ come with the configuration; scaling variants differ only in them, and
// two of them ("longrope", "dynamic") in which ones a long sequence uses.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model_spec.h"

namespace grpo {

/// cos and sin of one pass, broadcast over heads. D_rot <= D leading dimensions are rotated.
struct RopeTable {
    at::Tensor cos;  // [N, 1, D_rot] model dtype
    at::Tensor sin;  // [N, 1, D_rot]
};

using RopeTables = std::vector<RopeTable>;

/// positions [N] int64; sequence_length: of the longest sequence of the call.
RopeTable make_rope_table(const RopeConfig& config, const at::Tensor& positions,
                          int64_t sequence_length, at::ScalarType dtype);

/// The rows `positions` [N] of a table of all positions.
RopeTable at_positions(const RopeTable& all, const at::Tensor& positions);

/// x [N, H, D] -> [N, H, D]
at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table);

}  // namespace grpo
