// The cache of a rollout on a CPU, in panels (kernels/head_cache.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "kernels/head_cache.h"
#include "model/rollout_cache.h"
#include "model_spec.h"

namespace grpo {

class PanelCache : public RolloutCache {
  public:
    /// Room for `prompts` prompts of up to `prompt_width` tokens and `rows` rows, whose own tokens
    /// get room as they come.
    PanelCache(const ModelConfig& config, cpu::Storage storage, int64_t prompts,
               int64_t prompt_width, int64_t rows, int64_t max_time);

    void store_prompts(int64_t layer, const std::vector<int64_t>& slots,
                       const std::vector<int64_t>& lengths, const at::Tensor& k,
                       const at::Tensor& v) override;
    void move_prompt(int64_t from, int64_t to) override;
    void move_row(int64_t from, int64_t to) override;

    /// Own tokens of a row begin at this place of its sequence.
    static int64_t own_start(int64_t prompt_length) { return prompt_length / 2 * 2; }
    /// Makes room for own tokens at times 0..time.
    void reserve_time(int64_t time);
    /// k and v [D], the token at `time` of a row whose prompt lies in `slot`.
    void store(int64_t layer, int64_t row, int64_t head, int64_t slot, int64_t prompt_length,
               int64_t time, const float* k, const float* v);

    const cpu::HeadLayout& layout() const { return layout_; }
    const uint32_t* prompt_keys(int64_t layer, int64_t slot, int64_t head) const {
        return words(prompt_keys_[layer], slot, head);
    }
    const uint32_t* prompt_values(int64_t layer, int64_t slot, int64_t head) const {
        return words(prompt_values_[layer], slot, head);
    }
    const uint32_t* row_keys(int64_t layer, int64_t row, int64_t head) const {
        return words(row_keys_[layer], row, head);
    }
    const uint32_t* row_values(int64_t layer, int64_t row, int64_t head) const {
        return words(row_values_[layer], row, head);
    }

  private:
    static uint32_t* words(const at::Tensor& cache, int64_t index, int64_t head) {
        return static_cast<uint32_t*>(cache.data_ptr()) + index * cache.stride(0) +
               head * cache.stride(1);
    }

    cpu::HeadLayout layout_;
    int64_t kv_heads_, capacity_, max_own_;
    // Of each layer, in words: [U_max, K, ..] and [n_max, K, ..].
    std::vector<at::Tensor> prompt_keys_, prompt_values_, row_keys_, row_values_;
};

}  // namespace grpo
