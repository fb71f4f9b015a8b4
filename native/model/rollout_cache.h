// What a rollout asks of the keys and values that it keeps, in whatever form. Prompts and what
// follows them are kept apart: a prompt's are computed once and read by all completions of its
// group, never copied; every row (completion) has a cache of its own tokens beside it.
//
// Live prompts fill slots 0..U-1 and live rows fill rows 0..n-1. Whoever leaves is replaced by the
// last, so a finished row costs one row's copy and the next step computes only what is live.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace grpo {

class RolloutCache {
  public:
    virtual ~RolloutCache() = default;
    /// Flat k and v [N, K, D] of whole prompts, one after the other, into their slots.
    virtual void store_prompts(int64_t layer, const std::vector<int64_t>& slots,
                               const std::vector<int64_t>& lengths, const at::Tensor& k,
                               const at::Tensor& v) = 0;
    virtual void move_prompt(int64_t from, int64_t to) = 0;
    virtual void move_row(int64_t from, int64_t to) = 0;
};

}  // namespace grpo
