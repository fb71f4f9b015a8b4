#include "model/kv_cache.h"

#include <ATen/Functions.h>

#include <algorithm>

namespace grpo {

constexpr int64_t kFirstTimeCapacity = 64;

KvCache::KvCache(const ModelConfig& config, int64_t prompts, int64_t prompt_width, int64_t rows,
                 int64_t max_time, const at::TensorOptions& options)
    : kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim),
      prompt_width_(prompt_width),
      time_capacity_(std::min(max_time, kFirstTimeCapacity)),
      max_time_(max_time) {
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
        // Zeros, because padding is multiplied by a weight of zero and must not be NaN.
        for (auto* cache : {&prompt_k_, &prompt_v_}) {
            cache->push_back(at::zeros({prompts, kv_heads_, prompt_width_, head_dim_}, options));
        }
        for (auto* cache : {&row_k_, &row_v_}) {
            cache->push_back(at::zeros({rows, kv_heads_, time_capacity_, head_dim_}, options));
        }
    }
}

void KvCache::store_prompts(int64_t layer, const std::vector<int64_t>& slots,
                            const std::vector<int64_t>& lengths, const at::Tensor& k,
                            const at::Tensor& v) {
    int64_t start = 0;
    for (size_t p = 0; p < slots.size(); ++p) {
        const auto put = [&](const at::Tensor& cache, const at::Tensor& flat) {
            cache.select(0, slots[p])
                .narrow(1, 0, lengths[p])
                .copy_(flat.narrow(0, start, lengths[p]).transpose(0, 1));
        };
        put(prompt_k_[layer], k);
        put(prompt_v_[layer], v);
        start += lengths[p];
    }
}

void KvCache::store_step(int64_t layer, const at::Tensor& row, const at::Tensor& head,
                         const at::Tensor& time, const at::Tensor& k, const at::Tensor& v) {
    row_k_[layer].index_put_({row, head, time}, k);
    row_v_[layer].index_put_({row, head, time}, v);
}

void KvCache::reserve_time(int64_t time) {
    if (time < time_capacity_) return;
    const int64_t capacity = std::min(max_time_, std::max(2 * time_capacity_, time + 1));
    for (auto* cache : {&row_k_, &row_v_}) {
        for (at::Tensor& old : *cache) {
            at::Tensor grown =
                at::zeros({old.size(0), kv_heads_, capacity, head_dim_}, old.options());
            grown.narrow(2, 0, time_capacity_).copy_(old);
            old = grown;
        }
    }
    time_capacity_ = capacity;
}

void KvCache::move_prompt(int64_t from, int64_t to) {
    for (auto* cache : {&prompt_k_, &prompt_v_}) {
        for (const at::Tensor& layer : *cache) layer.select(0, to).copy_(layer.select(0, from));
    }
}

void KvCache::move_row(int64_t from, int64_t to) {
    for (auto* cache : {&row_k_, &row_v_}) {
        for (const at::Tensor& layer : *cache) layer.select(0, to).copy_(layer.select(0, from));
    }
}

at::Tensor KvCache::prompt_k(int64_t layer, int64_t prompts) const {
    return prompt_k_[layer]
        .narrow(0, 0, prompts)
        .view({prompts * kv_heads_, prompt_width_, head_dim_});
}

at::Tensor KvCache::prompt_v(int64_t layer, int64_t prompts) const {
    return prompt_v_[layer]
        .narrow(0, 0, prompts)
        .view({prompts * kv_heads_, prompt_width_, head_dim_});
}

at::Tensor KvCache::row_k(int64_t layer, int64_t rows, int64_t time) const {
    return row_k_[layer]
        .narrow(0, 0, rows)
        .narrow(2, 0, time)
        .view({rows * kv_heads_, time, head_dim_});
}

at::Tensor KvCache::row_v(int64_t layer, int64_t rows, int64_t time) const {
    return row_v_[layer]
        .narrow(0, 0, rows)
        .narrow(2, 0, time)
        .view({rows * kv_heads_, time, head_dim_});
}

}  // namespace grpo
