#include "model/block_cache.h"

#include <algorithm>

#include "kernels/parallel.h"

namespace grpo {

using cpu::blocks_of;
using cpu::kBlockTokens;

BlockCache::BlockCache(const ModelConfig& config, BlockPool& pool, PrefixIndex* index,
                       std::string policy)
    : config_(config), pool_(pool), index_(index), policy_(std::move(policy)) {}

BlockCache::~BlockCache() {
    for (Prompt& prompt : prompts_) release(prompt.blocks);
    for (Blocks& row : rows_) release(row);
}

void BlockCache::release(Blocks& blocks) {
    for (const int32_t block : blocks) pool_.release(block);
    blocks.clear();
}

void BlockCache::own(int32_t& block) {
    const int32_t copy = pool_.take();
    pool_.copy(block, copy);
    pool_.release(block);
    block = copy;
}

void BlockCache::remember(std::span<const int32_t> ids, const Blocks& blocks) {
    if (index_ == nullptr) return;
    index_->insert(policy_, ids, std::span(blocks).first(blocks_of(ids.size())));
}

std::optional<int64_t> BlockCache::known(std::span<const int32_t> ids) {
    if (index_ == nullptr) return std::nullopt;
    PrefixIndex::Found found = index_->find(policy_, ids);
    release(found.blocks);
    return found.tokens;
}

int64_t BlockCache::open_prompt(std::span<const int32_t> ids) {
    const auto length = static_cast<int64_t>(ids.size());
    PrefixIndex::Found known;
    // The last token is computed in any case: what follows it is to be drawn.
    if (index_ != nullptr) known = index_->find(policy_, ids.first(length - 1));
    Prompt& prompt = prompts_.emplace_back(Prompt{std::move(known.blocks), length});
    if (known.tokens % kBlockTokens != 0) own(prompt.blocks.back());
    while (static_cast<int64_t>(prompt.blocks.size()) < blocks_of(length))
        prompt.blocks.push_back(pool_.take());
    return known.tokens;
}

void BlockCache::store(int64_t layer, const std::vector<PromptPart>& parts, const at::Tensor& k,
                       const at::Tensor& v) {
    const at::Tensor keys = k.contiguous(), values = v.contiguous();
    const int64_t kv_heads = config_.num_kv_heads, dim = config_.head_dim;
    std::vector<int64_t> starts{0};
    for (const PromptPart& part : parts) starts.push_back(starts.back() + part.count);
    const auto items = static_cast<int64_t>(parts.size()) * kv_heads;
    const int64_t cost = starts.back() / std::max<int64_t>(1, items / kv_heads) * dim * 8;
    cpu::parallel(items, cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t p = i / kv_heads, head = i % kv_heads;
            const cpu::HeadBlocks memory = pool_.head(layer, head);
            const Blocks& blocks = prompts_[parts[p].slot].blocks;
            for (int64_t t = 0; t < parts[p].count; ++t) {
                const int64_t from = ((starts[p] + t) * kv_heads + head) * dim;
                const int64_t place = parts[p].start + t;
                pool_.layout().store(memory.at(blocks[place / kBlockTokens]), place % kBlockTokens,
                                     keys.const_data_ptr<float>() + from,
                                     values.const_data_ptr<float>() + from);
            }
        }
    });
}

void BlockCache::complete_prompt(int64_t slot, std::span<const int32_t> ids) {
    remember(ids, prompts_[slot].blocks);
}

void BlockCache::close_prompt(int64_t slot) {
    release(prompts_[slot].blocks);
    if (slot + 1 != static_cast<int64_t>(prompts_.size()))
        prompts_[slot] = std::move(prompts_.back());
    prompts_.pop_back();
}

void BlockCache::open_row(int64_t slot) {
    const Prompt& prompt = prompts_[slot];
    Blocks& row = rows_.emplace_back(prompt.blocks);
    for (const int32_t block : row) pool_.share(block);
    // The block that the row goes on in.
    if (prompt.length % kBlockTokens != 0) own(row.back());
}

void BlockCache::close_row(int64_t row, std::span<const int32_t> ids) {
    remember(ids, rows_[row]);
    release(rows_[row]);
    if (row + 1 != static_cast<int64_t>(rows_.size())) rows_[row] = std::move(rows_.back());
    rows_.pop_back();
}

void BlockCache::reserve(int64_t row, int64_t position) {
    while (static_cast<int64_t>(rows_[row].size()) <= position / kBlockTokens)
        rows_[row].push_back(pool_.take());
}

void BlockCache::store(int64_t layer, int64_t row, int64_t head, int64_t position, const float* k,
                       const float* v) {
    const int32_t block = rows_[row][position / kBlockTokens];
    pool_.layout().store(pool_.head(layer, head).at(block), position % kBlockTokens, k, v);
}

}  // namespace grpo
