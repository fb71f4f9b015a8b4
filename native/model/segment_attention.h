// Attention over prompts and the completions that continue them, without padding, masks or copies
// of a prompt's keys for each of its completions: memory is linear in the length. In fp32 by
// cpu/attention.h. Where that has no kernels for the processor or the dtype, a completion attends
// to its prompt and to itself apart, each by ATen's blockwise (flash) kernel (Dao et al. 2022);
// with l = log Σ exp(scores) of each,
//   o = (o₁ e^l₁ + o₂ e^l₂) / e^l,   l = log(e^l₁ + e^l₂)
// The backward of such a kernel needs only l, o and do of the whole, so each segment's is exact by
// itself and they add up.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "model/packed_layout.h"

namespace grpo {

/// Which flat tokens attend to which.
struct Segments {
    /// Neighbours of equal length, each attending to itself, causally.
    struct Run {
        int64_t start, count, length;
    };
    /// The completions of one prompt, attending to all of it.
    struct Group {
        int64_t start, tokens, prompt_start, prompt_length;
    };
    explicit Segments(const PackedLayout& layout);

    std::vector<Run> runs;
    std::vector<Group> groups;
    std::vector<cpu::AttentionFamily> families;  // the same in blocks: a prompt's and its group's
    int64_t longest = 0;                         // sequence
};

/// q [N, H, D], k and v [N, K, D] -> [N, H · D]. On a CPU, in float32 or bfloat16.
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::shared_ptr<const Segments>& segments, double scale);

}  // namespace grpo
