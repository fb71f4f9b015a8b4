// Keys and values of one head in blocks of tokens, as the products of attention read them: keys
// are the columns of panels, values the rows, two of them a step in bf16. Tokens are added one by
// one, and sequences that begin alike share the blocks of their beginning.
#pragma once

#include <cstdint>

#include "engine_limits.h"
#include "kernels/gemm.h"

namespace grpo::cpu {

constexpr int64_t kBlockTokens = kLimits.block_tokens;

constexpr int64_t blocks_of(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

class HeadLayout {
  public:
    HeadLayout(int64_t head_dim, Storage storage) : dim_(head_dim), storage_(storage) {}

    int64_t head_dim() const { return dim_; }
    Storage storage() const { return storage_; }
    /// Words of a block: its keys, then its values.
    int64_t block_words() const { return key_words() + value_words(); }

    Panels keys(const uint32_t* block) const { return {block, panel_words(), kPanelColumns}; }
    Panels values(const uint32_t* block) const {
        return {block + key_words(), kPanelColumns, value_columns()};
    }

    /// k and v [D] of the token at `place` of a block. What an even place has beside it is zero
    /// until it is written.
    void store(uint32_t* block, int64_t place, const float* k, const float* v) const;

  private:
    int64_t panel_words() const { return steps_of(storage_, dim_) * kPanelColumns; }
    int64_t value_columns() const { return panels_of(dim_) * kPanelColumns; }
    int64_t key_words() const { return panels_of(kBlockTokens) * panel_words(); }
    int64_t value_words() const { return steps_of(storage_, kBlockTokens) * value_columns(); }

    int64_t dim_;
    Storage storage_;
};

/// Where the blocks of one head lie.
struct HeadBlocks {
    uint32_t* const* slabs;
    int64_t slab_blocks, block_words;  // blocks of a slab, words from one to the next
    int64_t offset;                    // of the head in a block of all

    uint32_t* at(int32_t block) const {
        return slabs[block / slab_blocks] + block % slab_blocks * block_words + offset;
    }
};

}  // namespace grpo::cpu
