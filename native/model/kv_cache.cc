#include "model/kv_cache.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "device.h"
#include "model/rows.h"

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

void KvCache::store_prompts(int64_t layer, const std::vector<int64_t>& slots, const at::Tensor& k,
                            const at::Tensor& v) {
    for (size_t p = 0; p < slots.size(); ++p) {
        const auto index = static_cast<int64_t>(p);
        prompt_k_[layer].select(0, slots[p]).narrow(1, 0, k.size(2)).copy_(k.select(0, index));
        prompt_v_[layer].select(0, slots[p]).narrow(1, 0, v.size(2)).copy_(v.select(0, index));
    }
}

void KvCache::store_step(int64_t layer, const at::Tensor& row_index, const at::Tensor& k,
                         const at::Tensor& v) {
    row_k_[layer].view({-1, head_dim_}).index_copy_(0, row_index, k.reshape({-1, head_dim_}));
    row_v_[layer].view({-1, head_dim_}).index_copy_(0, row_index, v.reshape({-1, head_dim_}));
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

DecodeAttention::DecodeAttention(const ModelConfig& config, KvCache& cache,
                                 const std::vector<int64_t>& slot_of_row,
                                 const std::vector<int64_t>& prompt_lengths,
                                 const std::vector<int64_t>& times, at::ScalarType dtype,
                                 at::Device device)
    : config_(config),
      cache_(cache),
      mask_dtype_(at::promote_types(dtype, at::kFloat)),
      rows_(static_cast<int64_t>(slot_of_row.size())),
      prompts_(static_cast<int64_t>(prompt_lengths.size())),
      group_width_(0),
      time_(*std::max_element(times.begin(), times.end()) + 1) {
    cache_.reserve_time(time_ - 1);
    std::vector<std::vector<int64_t>> members(prompts_);
    for (int64_t row = 0; row < rows_; ++row) members[slot_of_row[row]].push_back(row);
    for (const auto& rows : members) {
        group_width_ = std::max(group_width_, static_cast<int64_t>(rows.size()));
    }
    std::vector<int64_t> to_group(prompts_ * group_width_, rows_), to_row(rows_), row_index;
    std::vector<int64_t> prompt_length_of_row;
    for (int64_t slot = 0; slot < prompts_; ++slot) {
        for (size_t i = 0; i < members[slot].size(); ++i) {
            const int64_t place = slot * group_width_ + static_cast<int64_t>(i);
            to_group[place] = members[slot][i];
            to_row[members[slot][i]] = place;
        }
    }
    for (int64_t row = 0; row < rows_; ++row) {
        prompt_length_of_row.push_back(prompt_lengths[slot_of_row[row]]);
        for (int64_t head = 0; head < cache.kv_heads(); ++head) {
            row_index.push_back((row * cache.kv_heads() + head) * cache.time_capacity() +
                                times[row]);
        }
    }
    to_group_ = to_device(to_group, device);
    to_row_ = to_device(to_row, device);
    row_index_ = to_device(row_index, device);

    prompt_length_ = to_device(prompt_length_of_row, device).unsqueeze(1);
    times_ = to_device(times, device).unsqueeze(1);
}

const at::Tensor& DecodeAttention::mask(int64_t window) {
    at::Tensor& mask = mask_[window];
    if (mask.defined()) return mask;
    const auto index = times_.options();
    const at::Tensor key = at::arange(cache_.prompt_width(), index), own = at::arange(time_, index);
    at::Tensor in_prompt = key.lt(prompt_length_), in_own = own.le(times_);
    if (window != 0) {
        in_prompt = in_prompt.logical_and(key.gt(prompt_length_ + times_ - window));
        in_own = in_own.logical_and(own.gt(times_ - window));
    }
    const at::Tensor visible = at::cat({in_prompt, in_own}, 1).view({rows_, 1, 1, -1});
    return mask = additive_mask(visible, mask_dtype_);
}

at::Tensor DecodeAttention::group_rows(const at::Tensor& rows) const {
    const int64_t heads = rows.size(1), repeats = rows.size(2), width = rows.size(3);
    const at::Tensor empty = at::zeros({1, heads, repeats, width}, rows.options());
    return take_rows(at::cat({rows, empty}), to_group_)
        .view({prompts_, group_width_, heads, repeats, width})
        .transpose(1, 2)
        .reshape({prompts_ * heads, group_width_ * repeats, width});
}

at::Tensor DecodeAttention::ungroup_rows(const at::Tensor& grouped, int64_t repeats) const {
    const int64_t heads = cache_.kv_heads(), width = grouped.size(2);
    return take_rows(grouped.view({prompts_, heads, group_width_, repeats, width})
                         .transpose(1, 2)
                         .reshape({prompts_ * group_width_, heads, repeats, width}),
                     to_row_);
}

at::Tensor DecodeAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v) {
    cache_.store_step(layer, row_index_, k, v);
    const int64_t heads = cache_.kv_heads(), head_dim = q.size(2), repeats = q.size(1) / heads;
    const int64_t width = cache_.prompt_width();
    const at::Tensor scaled = (q * config_.attention_scale).view({rows_, heads, repeats, head_dim});

    const at::Tensor prompt_scores = ungroup_rows(
        at::bmm(group_rows(scaled), cache_.prompt_k(layer, prompts_).transpose(1, 2)), repeats);
    const at::Tensor own_scores = at::bmm(scaled.view({rows_ * heads, repeats, head_dim}),
                                          cache_.row_k(layer, rows_, time_).transpose(1, 2))
                                      .view({rows_, heads, repeats, time_});
    const at::Tensor scores = softcap(at::cat({prompt_scores, own_scores}, -1).to(mask_dtype_),
                                      config_.attention_softcap) +
                              mask(config_.layers[layer].window);
    const at::Tensor weights = at::softmax(scores, -1).to(q.scalar_type());  // [n, K, r, W + time]

    const at::Tensor from_prompt = ungroup_rows(
        at::bmm(group_rows(weights.narrow(-1, 0, width)), cache_.prompt_v(layer, prompts_)),
        repeats);
    const at::Tensor from_own =
        at::bmm(weights.narrow(-1, width, time_).reshape({rows_ * heads, repeats, time_}),
                cache_.row_v(layer, rows_, time_))
            .view({rows_, heads, repeats, head_dim});
    return (from_prompt + from_own).view({rows_, heads * repeats * head_dim});
}

}  // namespace grpo
