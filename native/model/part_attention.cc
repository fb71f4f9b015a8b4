#include "model/part_attention.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "kernels/attend_rows.h"
#include "kernels/attention.h"
#include "kernels/parallel.h"

namespace grpo {

PartAttention::PartAttention(const ModelConfig& config, BlockCache& cache,
                             std::vector<PromptPart> parts)
    : config_(config), cache_(cache), parts_(std::move(parts)) {
    const int64_t repeats = config.num_heads / config.num_kv_heads;
    int64_t first = 0;
    for (const PromptPart& part : parts_) {
        const int64_t most = cpu::block_queries(part.start + part.count, repeats);
        for (int64_t t = 0; t < part.count; t += most)
            queries_.push_back(
                {part.slot, first + t, part.start + t, std::min(most, part.count - t)});
        first += part.count;
    }
}

at::Tensor PartAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                 const at::Tensor& v) {
    cache_.store(layer, parts_, k, v);
    const at::Tensor queries = q.contiguous();
    at::Tensor out = at::empty({q.size(0), q.size(1) * q.size(2)}, q.options());
    const auto* from = queries.const_data_ptr<float>();
    auto* to = out.mutable_data_ptr<float>();
    const int64_t heads = config_.num_kv_heads;
    int64_t cost = 0;
    for (const Queries& block : queries_) cost += block.count * (block.position + block.count);
    cost *= 2 * q.size(1) * q.size(2) / heads / static_cast<int64_t>(queries_.size());
    cpu::parallel(static_cast<int64_t>(queries_.size()) * heads, cost,
                  [&](int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i)
                          attend_head(layer, i % heads, queries_[i / heads], from, to);
                  });
    return out;
}

void PartAttention::attend_head(int64_t layer, int64_t head, const Queries& queries, const float* q,
                                float* out) const {
    static thread_local cpu::Scratch scratch;
    const int64_t repeats = config_.num_heads / config_.num_kv_heads, dim = config_.head_dim;
    const int64_t size = config_.num_heads * dim, window = config_.layers[layer].window;
    const int32_t* blocks = cache_.prompt_blocks(queries.slot);
    std::vector<cpu::HeadAttention::Row> rows;
    for (int64_t i = 0; i < queries.count; ++i) {
        const int64_t end = queries.position + i + 1;
        const int64_t at = (queries.first + i) * size + head * repeats * dim;
        rows.push_back({.q = q + at,
                        .out = out + at,
                        .blocks = blocks,
                        .first = window == 0 ? 0 : std::max<int64_t>(0, end - window),
                        .end = end});
    }
    cpu::attend({.rows = rows.data(),
                 .num_rows = queries.count,
                 .repeats = repeats,
                 .layout = cache_.pool().layout(),
                 .memory = cache_.pool().head(layer, head),
                 .shared = cpu::blocks_of(queries.position + queries.count),
                 .scale = static_cast<float>(config_.attention_scale),
                 .softcap = static_cast<float>(config_.attention_softcap)},
                scratch);
}

}  // namespace grpo
