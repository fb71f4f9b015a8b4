// The cache of a rollout by operators, in tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/rollout_cache.h"
#include "model_spec.h"

namespace grpo {

class KvCache : public RolloutCache {
  public:
    /// Room for `prompts` prompts of up to `prompt_width` tokens and `rows` rows, whose time axis
    /// grows as needed.
    KvCache(const ModelConfig& config, int64_t prompts, int64_t prompt_width, int64_t rows,
            int64_t max_time, const at::TensorOptions& options);

    void store_prompts(int64_t layer, const std::vector<int64_t>& slots,
                       const std::vector<int64_t>& lengths, const at::Tensor& k,
                       const at::Tensor& v) override;
    /// k and v [n, K, D] of rows [n, 1], heads [1, K], at times [n, 1].
    void store_step(int64_t layer, const at::Tensor& row, const at::Tensor& head,
                    const at::Tensor& time, const at::Tensor& k, const at::Tensor& v);
    /// Make room for time steps 0..time.
    void reserve_time(int64_t time);
    void move_prompt(int64_t from, int64_t to) override;
    void move_row(int64_t from, int64_t to) override;

    at::Tensor prompt_k(int64_t layer, int64_t prompts) const;          // [U·K, W, D]
    at::Tensor prompt_v(int64_t layer, int64_t prompts) const;          // [U·K, W, D]
    at::Tensor row_k(int64_t layer, int64_t rows, int64_t time) const;  // [n·K, time, D]
    at::Tensor row_v(int64_t layer, int64_t rows, int64_t time) const;  // [n·K, time, D]
    /// Whole caches: of prompts [U_max, K, W, D], of rows [n_max, K, T, D].
    const at::Tensor& all_prompt_k(int64_t layer) const { return prompt_k_[layer]; }
    const at::Tensor& all_prompt_v(int64_t layer) const { return prompt_v_[layer]; }
    const at::Tensor& all_row_k(int64_t layer) const { return row_k_[layer]; }
    const at::Tensor& all_row_v(int64_t layer) const { return row_v_[layer]; }
    int64_t prompt_width() const { return prompt_width_; }
    int64_t time_capacity() const { return time_capacity_; }
    int64_t kv_heads() const { return kv_heads_; }

  private:
    int64_t kv_heads_, head_dim_, prompt_width_, time_capacity_, max_time_;
    std::vector<at::Tensor> prompt_k_, prompt_v_;  // per layer [U_max, K, W, D]
    std::vector<at::Tensor> row_k_, row_v_;        // per layer [n_max, K, T, D]
};

}  // namespace grpo
