// Attention over sequences of different lengths by the kernels that accelerators have for it
// (Dao 2023): no padding, no mask, no copy of a prompt's keys for each of its completions, and
// memory that is linear in the length. A completion's tokens attend to their own sequence and to
// their prompt in two runs, whose results are weighed by their log-sums of exponentials:
//   o = o₁ e^(l₁ - l) + o₂ e^(l₂ - l),   l = log(e^l₁ + e^l₂)
// and the backward of each run, given o and l of both together, is its part of the whole gradient.
// The plain version is the padded form of attention.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "model/packed_layout.h"
#include "model/segment_attention.h"
#include "model_spec.h"

namespace grpo {

/// Whether the kernels take it: half precision on an accelerator, and no soft cap.
bool has_flash_attention(const ModelConfig& config, at::ScalarType dtype, at::Device device);

/// Sequences one after the other, of queries and of the keys that each sees.
struct FlashRun {
    at::Tensor query_starts;  // [sequences + 1] int32
    at::Tensor key_starts;    // [sequences + 1] int32
    int64_t longest_query = 0;
    int64_t longest_key = 0;
};

/// Which flat tokens attend to which.
struct FlashSegments {
    FlashSegments(const PackedLayout& layout, at::Device device);

    int64_t prompt_tokens;
    FlashRun own;     // every prompt and every completion, by itself
    FlashRun shared;  // the completions of each prompt together, to it; unset: there are none
    // What a window asks for, whose beginning differs from query to query: every completion after
    // a copy of its prompt.
    FlashRun whole;
    at::Tensor whole_keys;  // [keys] int64: flat tokens
};

/// q [N, H, D], k and v [N, K, D] -> [N, H · D]. Differentiable.
at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const std::shared_ptr<const FlashSegments>& segments,
                           const AttentionTerms& terms);

}  // namespace grpo
