// How a rollout computes and draws: on CPUs by kernels made for it, elsewhere and as what those are
// tested against by operators. Slots and rows are those of RolloutCache.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/row_sampler.h"
#include "model/attention.h"
#include "model/decoder.h"
#include "model/rollout_cache.h"
#include "model/step_cache.h"

namespace grpo {

/// What a rollout has room for.
struct RolloutRoom {
    int64_t rows = 0;     // at a time
    int64_t prompts = 0;  // at a time
    // What operators make room for at once, and need to know where steps are recorded.
    int64_t group_size = 1;
    int64_t prompt_width = 1;
    int64_t max_new_tokens = 1;
};

/// Attention of whole prompts, which stores them in the cache.
std::shared_ptr<Attention> whole_prompts(const Decoder& decoder, RolloutCache& cache,
                                         const std::vector<PromptPart>& prompts);

class Decoding {
  public:
    virtual ~Decoding() = default;
    virtual RolloutCache& cache() = 0;
    /// Whether a prompt may be computed part by part.
    virtual bool takes_parts() const = 0;
    /// What parts of prompts attend by, one after the other in a pass, which stores their keys and
    /// values. `whole`: each is a whole prompt.
    virtual std::shared_ptr<Attention> attention(const std::vector<PromptPart>& parts,
                                                 bool whole) = 0;
    /// The first tokens of the last rows.size() rows, from the logits [P, V] of their prompts.
    virtual std::vector<cpu::DrawnToken> draw_first(const at::Tensor& logits,
                                                    const std::vector<int64_t>& prompt_of_row,
                                                    const std::vector<cpu::RowDraw>& rows) = 0;
    /// One step of all rows: computes the token that each ends with, then calls `draws` for what
    /// their draws depend on.
    using Draws = std::function<std::vector<cpu::RowDraw>()>;
    virtual std::vector<cpu::DrawnToken> step(const DecodeRows& rows, const Draws& draws) = 0;
    /// As of the cache.
    virtual void close_row(int64_t row, std::span<const int32_t> ids) = 0;
};

}  // namespace grpo
