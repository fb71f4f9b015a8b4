// What a rollout asks of the keys and values that it keeps, in whatever form. A prompt is computed
// once and read by all completions of its group; every row (completion) has its own tokens after
// it.
//
// Live prompts fill slots 0..U-1 and live rows fill rows 0..n-1, in the order in which they were
// opened. Whoever is closed is replaced by the last, so that the next step computes only what is
// live.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <vector>

namespace grpo {

/// Tokens [start, start + count) of the prompt in a slot.
struct PromptPart {
    int64_t slot, start, count;
};

class RolloutCache {
  public:
    virtual ~RolloutCache() = default;
    /// How many first tokens of a prompt are known already, where any ever are.
    virtual std::optional<int64_t> known(std::span<const int32_t> /*ids*/) { return std::nullopt; }
    /// A prompt into the next slot. Returns how many of its first tokens are known already, fewer
    /// than all; the others are to be computed in their order.
    virtual int64_t open_prompt(std::span<const int32_t> ids) = 0;
    /// Flat k and v [N, K, D] of parts, one after the other.
    virtual void store(int64_t layer, const std::vector<PromptPart>& parts, const at::Tensor& k,
                       const at::Tensor& v) = 0;
    /// All tokens of a prompt have been computed.
    virtual void complete_prompt(int64_t slot, std::span<const int32_t> ids) = 0;
    virtual void close_prompt(int64_t slot) = 0;
    /// A completion of the prompt in a slot, into the next row.
    virtual void open_row(int64_t slot) = 0;
    /// `ids`: those of its prompt and of its own whose keys and values are stored.
    virtual void close_row(int64_t row, std::span<const int32_t> ids) = 0;
};

}  // namespace grpo
