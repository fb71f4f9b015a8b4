// Attention over segments on a CPU: a block of queries against the keys of a prompt, which all of
// them see, and each of its spans against its own keys, causally. The scores of a block are
// products of gemm.h in memory of one thread, and the backward computes them again. A query's bits
// are those of decode_attention.h for the same keys: scores, softmax and sums take the same order,
// and values are paired by their place in the sequence, wherever the prompt ends.
#pragma once

#include <vector>

#include "kernels/attention_shape.h"

namespace grpo::cpu {

/// Fills out [N, H, D] and log_sum [N, H] = log Σ exp(scores).
void attend(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
            const float* q, const float* k, const float* v, float* out, float* log_sum);

struct AttentionGradients {
    float* q;      // [N, H, D]
    float *k, *v;  // [N, K, D]
};
/// Sets q's gradient, adds to those of k and v.
void attend_backward(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
                     const float* q, const float* k, const float* v, const float* log_sum,
                     const float* dout, const AttentionGradients& gradients);

}  // namespace grpo::cpu
