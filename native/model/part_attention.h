// Attention of parts of prompts on a CPU, over the blocks in which their beginning lies and into
// which they themselves are stored. Whole prompts, with nothing before them, are faster by
// PackedAttention.
#pragma once

#include <memory>
#include <vector>

#include "model/attention.h"
#include "model/block_cache.h"

namespace grpo {

class PartAttention : public Attention {
  public:
    PartAttention(const ModelConfig& config, BlockCache& cache, std::vector<PromptPart> parts);
    at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v) override;

  private:
    /// Tokens of one part, from flat token `first` on, at `position` of their sequence.
    struct Queries {
        int64_t slot, first, position, count;
    };
    void attend_head(int64_t layer, int64_t head, const Queries& queries, const float* q,
                     float* out) const;

    const ModelConfig& config_;
    BlockCache& cache_;
    std::vector<PromptPart> parts_;
    std::vector<Queries> queries_;
};

}  // namespace grpo
