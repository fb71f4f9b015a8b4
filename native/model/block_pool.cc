#include "model/block_pool.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>

namespace grpo {
namespace {

constexpr int64_t kSlabWords = int64_t{4} << 20;  // 16 MiB

}  // namespace

BlockPool::BlockPool(const ModelConfig& config, cpu::Storage storage)
    : layout_(config.head_dim, storage),
      kv_heads_(config.num_kv_heads),
      block_words_(config.num_layers * kv_heads_ * layout_.block_words()),
      slab_blocks_(std::max<int64_t>(1, kSlabWords / block_words_)) {}

cpu::HeadBlocks BlockPool::head(int64_t layer, int64_t head) const {
    return {slab_words_.data(), slab_blocks_, block_words_,
            (layer * kv_heads_ + head) * layout_.block_words()};
}

int32_t BlockPool::take() {
    if (free_.empty()) {
        slabs_.push_back(at::empty({slab_blocks_ * block_words_}, at::kInt));
        slab_words_.push_back(static_cast<uint32_t*>(slabs_.back().data_ptr()));
        const auto first = static_cast<int32_t>(owners_.size());
        owners_.resize(first + slab_blocks_, 0);
        // The first ones are taken first.
        for (auto block = static_cast<int32_t>(owners_.size()); block-- > first;)
            free_.push_back(block);
    }
    const int32_t block = free_.back();
    free_.pop_back();
    owners_[block] = 1;
    return block;
}

void BlockPool::release(int32_t block) {
    if (--owners_[block] == 0) free_.push_back(block);
}

void BlockPool::copy(int32_t from, int32_t to) {
    std::memcpy(words(to), words(from), block_bytes());
}

}  // namespace grpo
