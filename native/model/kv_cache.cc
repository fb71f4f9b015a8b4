#include "model/kv_cache.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "model/decode_attention.h"

namespace grpo {

namespace {

constexpr int64_t kFirstTime = 64;
constexpr int64_t kSmallestRows = 8;  // of fixed shapes

void move(const std::vector<at::Tensor>& layers, int64_t from, int64_t to) {
    for (const at::Tensor& layer : layers) layer.select(0, to).copy_(layer.select(0, from));
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t prompts, int64_t prompt_width, int64_t rows,
                 int64_t group_size, int64_t most_time, const at::TensorOptions& options)
    : config_(config),
      dtype_(c10::typeMetaToScalarType(options.dtype())),
      kv_heads_(config.num_kv_heads),
      most_prompts_(prompts),
      most_rows_(rows),
      group_size_(group_size),
      most_time_(most_time) {
    const int64_t time = std::min(most_time, kFirstTime);
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
        // Zeros, because padding is multiplied by a weight of zero and must not be NaN.
        for (auto* cache : {&prompt_k_, &prompt_v_})
            cache->push_back(
                at::zeros({prompts, kv_heads_, prompt_width, config.head_dim}, options));
        for (auto* cache : {&row_k_, &row_v_})
            cache->push_back(at::zeros({rows, kv_heads_, time, config.head_dim}, options));
    }
}

int64_t KvCache::open_prompt(std::span<const int32_t> ids) {
    grow(prompt_k_, prompt_v_, 0, ++prompts_);
    grow(prompt_k_, prompt_v_, 2, static_cast<int64_t>(ids.size()));
    return 0;
}

void KvCache::store(int64_t layer, const std::vector<PromptPart>& parts, const at::Tensor& k,
                    const at::Tensor& v) {
    int64_t start = 0;
    for (const PromptPart& part : parts) {
        const auto put = [&](const at::Tensor& cache, const at::Tensor& flat) {
            cache.select(0, part.slot)
                .narrow(1, part.start, part.count)
                .copy_(flat.narrow(0, start, part.count).transpose(0, 1));
        };
        put(prompt_k_[layer], k);
        put(prompt_v_[layer], v);
        start += part.count;
    }
}

void KvCache::close_prompt(int64_t slot) {
    if (const int64_t last = --prompts_; slot != last) {
        move(prompt_k_, last, slot);
        move(prompt_v_, last, slot);
    }
}

void KvCache::open_row(int64_t /*slot*/) { grow(row_k_, row_v_, 0, ++rows_); }

void KvCache::close_row(int64_t row, std::span<const int32_t> /*ids*/) {
    if (const int64_t last = --rows_; row != last) {
        move(row_k_, last, row);
        move(row_v_, last, row);
    }
}

DecodeShape KvCache::shape_of(const DecodeRows& rows) const {
    std::vector<int64_t> members(rows.prompt_lengths.size(), 0);
    for (const int64_t slot : rows.slots) ++members[slot];
    return {.rows = static_cast<int64_t>(rows.ids.size()),
            .prompts = static_cast<int64_t>(rows.prompt_lengths.size()),
            .width = *std::max_element(members.begin(), members.end()),
            .time = *std::max_element(rows.times.begin(), rows.times.end()) + 1};
}

DecodeShape KvCache::fixed_shape_of(const DecodeRows& rows) const {
    const DecodeShape exact = shape_of(rows);
    return {.rows = bucket(exact.rows, kSmallestRows, most_rows_),
            .prompts = bucket(exact.prompts, 1, most_prompts_),
            .width = group_size_,
            .time = bucket(exact.time, kFirstTime, time_capacity())};
}

std::unique_ptr<StepInputs> KvCache::inputs(const DecodeShape& shape) {
    return std::make_unique<DecodeInputs>(shape, kv_heads_, row_k_[0].device());
}

std::shared_ptr<Attention> KvCache::step_attention(const StepInputs& inputs) {
    return std::make_shared<DecodeAttention>(config_, *this,
                                             static_cast<const DecodeInputs&>(inputs), dtype_);
}

void KvCache::store_step(int64_t layer, const at::Tensor& row, const at::Tensor& head,
                         const at::Tensor& time, const at::Tensor& k, const at::Tensor& v) {
    row_k_[layer].index_put_({row, head, time}, k);
    row_v_[layer].index_put_({row, head, time}, v);
}

void KvCache::reserve_time(int64_t time) { grow(row_k_, row_v_, 2, time + 1, most_time_); }

void KvCache::grow(Layers& keys, Layers& values, int64_t dimension, int64_t size, int64_t most) {
    const int64_t before = keys[0].size(dimension);
    if (size <= before) return;
    for (Layers* cache : {&keys, &values}) {
        for (at::Tensor& old : *cache) {
            std::vector<int64_t> sizes = old.sizes().vec();
            sizes[dimension] = std::max(size, std::min(2 * before, most));
            at::Tensor grown = at::zeros(sizes, old.options());
            grown.narrow(dimension, 0, before).copy_(old);
            old = grown;
        }
    }
}

at::Tensor KvCache::prompt_k(int64_t layer, int64_t prompts) const {
    return prompt_k_[layer].narrow(0, 0, prompts).view({prompts * kv_heads_, prompt_width(), -1});
}

at::Tensor KvCache::prompt_v(int64_t layer, int64_t prompts) const {
    return prompt_v_[layer].narrow(0, 0, prompts).view({prompts * kv_heads_, prompt_width(), -1});
}

at::Tensor KvCache::row_k(int64_t layer, int64_t rows, int64_t time) const {
    return row_k_[layer].narrow(0, 0, rows).narrow(2, 0, time).view({rows * kv_heads_, time, -1});
}

at::Tensor KvCache::row_v(int64_t layer, int64_t rows, int64_t time) const {
    return row_v_[layer].narrow(0, 0, rows).narrow(2, 0, time).view({rows * kv_heads_, time, -1});
}

}  // namespace grpo
