// Attention over prompts and the completions that continue them, without padding, masks or copies
// of a prompt's keys for each of its completions, by the kernels of a CPU (kernels/attention.h):
// memory is linear in the length. The plain version is the padded form of attention.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "model/packed_layout.h"

namespace grpo {

/// Which flat tokens attend to which: a family is a prompt and its completions.
struct Segments {
    /// `repeats`: query heads of a key head.
    Segments(const PackedLayout& layout, int64_t repeats);
    std::vector<cpu::AttentionFamily> families;
};

struct AttentionTerms {
    double scale = 1;
    double softcap = 0;  // 0: off
    int64_t window = 0;  // 0: all
    cpu::Storage storage = cpu::Storage::kFloat;
};

/// q [N, H, D], k and v [N, K, D] in fp32 on a CPU -> [N, H · D].
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::shared_ptr<const Segments>& segments,
                             const AttentionTerms& terms);

}  // namespace grpo
