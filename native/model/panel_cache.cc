#include "model/panel_cache.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "kernels/parallel.h"

namespace grpo {
namespace {

constexpr int64_t kFirstCapacity = 64;

at::Tensor words_of(int64_t count, int64_t heads, int64_t words) {
    return at::empty({count, heads, words}, at::kInt);
}

void move(const std::vector<at::Tensor>& layers, int64_t from, int64_t to) {
    for (const at::Tensor& layer : layers) layer.select(0, to).copy_(layer.select(0, from));
}

}  // namespace

PanelCache::PanelCache(const ModelConfig& config, cpu::Storage storage, int64_t prompts,
                       int64_t prompt_width, int64_t rows, int64_t max_time)
    : layout_(config.head_dim, storage),
      kv_heads_(config.num_kv_heads),
      capacity_(std::min(max_time + 1, kFirstCapacity)),
      max_own_(max_time + 1) {
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
        prompt_keys_.push_back(words_of(prompts, kv_heads_, layout_.key_words(prompt_width)));
        prompt_values_.push_back(words_of(prompts, kv_heads_, layout_.value_words(prompt_width)));
        row_keys_.push_back(words_of(rows, kv_heads_, layout_.key_words(capacity_)));
        row_values_.push_back(words_of(rows, kv_heads_, layout_.value_words(capacity_)));
    }
}

void PanelCache::store_prompts(int64_t layer, const std::vector<int64_t>& slots,
                               const std::vector<int64_t>& lengths, const at::Tensor& k,
                               const at::Tensor& v) {
    const at::Tensor keys = k.contiguous(), values = v.contiguous();
    const int64_t dim = layout_.head_dim();
    std::vector<int64_t> starts{0};
    for (const int64_t length : lengths) starts.push_back(starts.back() + length);
    const auto items = static_cast<int64_t>(slots.size()) * kv_heads_;
    const int64_t cost = starts.back() / std::max<int64_t>(1, items / kv_heads_) * dim * 8;
    cpu::parallel(items, cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t p = i / kv_heads_, head = i % kv_heads_;
            for (int64_t place = 0; place < lengths[p]; ++place) {
                const int64_t from = ((starts[p] + place) * kv_heads_ + head) * dim;
                layout_.store(words(prompt_keys_[layer], slots[p], head),
                              words(prompt_values_[layer], slots[p], head), place,
                              keys.const_data_ptr<float>() + from,
                              values.const_data_ptr<float>() + from);
            }
        }
    });
}

void PanelCache::move_prompt(int64_t from, int64_t to) {
    move(prompt_keys_, from, to);
    move(prompt_values_, from, to);
}

void PanelCache::move_row(int64_t from, int64_t to) {
    move(row_keys_, from, to);
    move(row_values_, from, to);
}

void PanelCache::reserve_time(int64_t time) {
    const int64_t needed = time + 2;  // with a token that the prompt may lend
    if (needed <= capacity_) return;
    capacity_ = std::max(needed, std::min(2 * capacity_, max_own_ + 1));
    const auto grow = [&](at::Tensor& cache, int64_t size) {
        at::Tensor grown = words_of(cache.size(0), kv_heads_, size);
        grown.narrow(2, 0, cache.size(2)).copy_(cache);
        cache = grown;
    };
    for (at::Tensor& cache : row_keys_) grow(cache, layout_.key_words(capacity_));
    for (at::Tensor& cache : row_values_) grow(cache, layout_.value_words(capacity_));
}

void PanelCache::store(int64_t layer, int64_t row, int64_t head, int64_t slot,
                       int64_t prompt_length, int64_t time, const float* k, const float* v) {
    const int64_t lent = prompt_length - own_start(prompt_length);
    uint32_t* keys = words(row_keys_[layer], row, head);
    uint32_t* values = words(row_values_[layer], row, head);
    if (time == 0 && lent != 0) {
        layout_.copy_to_first(prompt_keys(layer, slot, head), prompt_values(layer, slot, head),
                              prompt_length - 1, keys, values);
    }
    layout_.store(keys, values, lent + time, k, v);
}

}  // namespace grpo
