// Memory for the keys and values of sequences on a CPU: blocks of tokens, of all layers and
// heads (kernels/head_block.h). A block has as many owners as sequences share it, and is free when
// the last one lets go.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kernels/head_block.h"
#include "model_spec.h"

namespace grpo {

class BlockPool {
  public:
    BlockPool(const ModelConfig& config, cpu::Storage storage);

    /// A block with one owner; its content is of no account.
    int32_t take();
    void share(int32_t block) { ++owners_[block]; }
    void release(int32_t block);
    void copy(int32_t from, int32_t to);

    const cpu::HeadLayout& layout() const { return layout_; }
    cpu::HeadBlocks head(int64_t layer, int64_t head) const;
    int64_t block_bytes() const { return block_words_ * static_cast<int64_t>(sizeof(uint32_t)); }

  private:
    uint32_t* words(int32_t block) const { return head(0, 0).at(block); }

    cpu::HeadLayout layout_;
    int64_t kv_heads_, block_words_, slab_blocks_;
    std::vector<at::Tensor> slabs_;
    std::vector<uint32_t*> slab_words_;
    std::vector<int32_t> owners_;  // of each block
    std::vector<int32_t> free_;
};

}  // namespace grpo
