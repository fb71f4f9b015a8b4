// Keys and values of a rollout. Prompts and what follows them are kept apart: a prompt's cache is
// computed once and read by all completions of its group, never copied; every row (completion) has
// a cache of its own tokens beside it.
//
// Live prompts fill slots 0..U-1 and live rows fill rows 0..n-1. Whoever leaves is replaced by the
// last, so a finished row costs one row's copy and the next step computes only what is live.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

#include "batch.h"
#include "model/attention.h"

namespace grpo {

class KvCache {
  public:
    /// Room for `prompts` prompts of up to `prompt_width` tokens and `rows` rows, whose time axis
    /// grows as needed.
    KvCache(const ModelConfig& config, int64_t prompts, int64_t prompt_width, int64_t rows,
            int64_t max_time, const at::TensorOptions& options);

    /// k and v [P, K, W, D], W <= prompt_width, into slots [P].
    void store_prompts(int64_t layer, const std::vector<int64_t>& slots, const at::Tensor& k,
                       const at::Tensor& v);
    /// k and v [n, K, D] of rows 0..n-1 at row_index = flat (row, head, time) indices [n · K].
    void store_step(int64_t layer, const at::Tensor& row_index, const at::Tensor& k,
                    const at::Tensor& v);
    /// Make room for time steps 0..time.
    void reserve_time(int64_t time);
    void move_prompt(int64_t from, int64_t to);
    void move_row(int64_t from, int64_t to);

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

/// One decode step: one new token per live row, attending to its prompt and to its own tokens so
/// far.
class DecodeAttention : public Attention {
  public:
    /// slot_of_row [n]: the prompt slot of each row; prompt_lengths [U]; times [n]: the step of
    /// each row's own axis.
    DecodeAttention(const ModelConfig& config, KvCache& cache,
                    const std::vector<int64_t>& slot_of_row,
                    const std::vector<int64_t>& prompt_lengths, const std::vector<int64_t>& times,
                    at::ScalarType dtype, at::Device device);
    at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v) override;

  private:
    at::Tensor group_rows(const at::Tensor& rows) const;  // [n, K, r, X] -> [U·K, Gm·r, X]
    at::Tensor ungroup_rows(const at::Tensor& grouped, int64_t repeats) const;  // and back

    const at::Tensor& mask(int64_t window);

    const ModelConfig& config_;
    KvCache& cache_;
    at::ScalarType mask_dtype_;
    int64_t rows_, prompts_, group_width_, time_;
    at::Tensor to_group_;                 // [U · Gm] row, or n for an empty place
    at::Tensor to_row_;                   // [n] place
    at::Tensor row_index_;                // [n · K] where this step's keys go
    at::Tensor prompt_length_;            // [n, 1] of each row
    at::Tensor times_;                    // [n, 1]
    std::map<int64_t, at::Tensor> mask_;  // window -> [n, 1, 1, W + time] additive, fp32
};

}  // namespace grpo
