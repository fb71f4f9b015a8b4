// The cache of a rollout on a CPU: sequences of blocks, which completions share as far as their
// prompt fills them, and which an index knows for the sequences that come later.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "model/block_pool.h"
#include "model/prefix_index.h"
#include "model/rollout_cache.h"

namespace grpo {

class BlockCache : public RolloutCache {
  public:
    /// With an index, sequences are looked up and remembered under the name of the policy.
    BlockCache(const ModelConfig& config, BlockPool& pool, PrefixIndex* index, std::string policy);
    ~BlockCache() override;
    BlockCache(const BlockCache&) = delete;
    BlockCache& operator=(const BlockCache&) = delete;

    std::optional<int64_t> known(std::span<const int32_t> ids) override;
    int64_t open_prompt(std::span<const int32_t> ids) override;
    void store(int64_t layer, const std::vector<PromptPart>& parts, const at::Tensor& k,
               const at::Tensor& v) override;
    void complete_prompt(int64_t slot, std::span<const int32_t> ids) override;
    void close_prompt(int64_t slot) override;
    void open_row(int64_t slot) override;
    void close_row(int64_t row, std::span<const int32_t> ids) override;

    /// Room for the token at `position` of a row.
    void reserve(int64_t row, int64_t position);
    /// k and v [D] of one head of it.
    void store(int64_t layer, int64_t row, int64_t head, int64_t position, const float* k,
               const float* v);

    const BlockPool& pool() const { return pool_; }
    const int32_t* prompt_blocks(int64_t slot) const { return prompts_[slot].blocks.data(); }
    const int32_t* row_blocks(int64_t row) const { return rows_[row].data(); }
    /// Blocks that all rows of a prompt of so many tokens share.
    static int64_t shared_blocks(int64_t prompt_length) {
        return prompt_length / cpu::kBlockTokens;
    }

  private:
    using Blocks = std::vector<int32_t>;
    struct Prompt {
        Blocks blocks;
        int64_t length;
    };

    void release(Blocks& blocks);
    /// A copy of a block in its place.
    void own(int32_t& block);
    void remember(std::span<const int32_t> ids, const Blocks& blocks);

    const ModelConfig& config_;
    BlockPool& pool_;
    PrefixIndex* index_;
    std::string policy_;
    std::vector<Prompt> prompts_;
    std::vector<Blocks> rows_;
};

}  // namespace grpo
