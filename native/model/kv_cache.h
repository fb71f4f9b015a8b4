// The cache of a rollout by operators, in tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <limits>
#include <span>
#include <vector>

#include "model/step_cache.h"
#include "model_spec.h"

namespace grpo {

class KvCache : public StepCache {
  public:
    /// Room for `prompts` prompts of up to `prompt_width` tokens and for `rows` rows, at most
    /// `group_size` of a prompt where shapes are fixed, which grows as needed; that for own tokens
    /// to `most_time` where not more are needed.
    KvCache(const ModelConfig& config, int64_t prompts, int64_t prompt_width, int64_t rows,
            int64_t group_size, int64_t most_time, const at::TensorOptions& options);

    int64_t open_prompt(std::span<const int32_t> ids) override;
    void store(int64_t layer, const std::vector<PromptPart>& parts, const at::Tensor& k,
               const at::Tensor& v) override;
    void complete_prompt(int64_t /*slot*/, std::span<const int32_t> /*ids*/) override {}
    void close_prompt(int64_t slot) override;
    void open_row(int64_t slot) override;
    void close_row(int64_t row, std::span<const int32_t> ids) override;

    DecodeShape shape_of(const DecodeRows& rows) const override;
    DecodeShape fixed_shape_of(const DecodeRows& rows) const override;
    std::unique_ptr<StepInputs> inputs(const DecodeShape& shape) override;
    std::shared_ptr<Attention> step_attention(const StepInputs& inputs) override;

    /// k and v [n, K, D] of rows [n, 1], heads [1, K], at times [n, 1].
    void store_step(int64_t layer, const at::Tensor& row, const at::Tensor& head,
                    const at::Tensor& time, const at::Tensor& k, const at::Tensor& v);
    /// Make room for time steps 0..time of every row.
    void reserve_time(int64_t time);

    at::Tensor prompt_k(int64_t layer, int64_t prompts) const;          // [U·K, W, D]
    at::Tensor prompt_v(int64_t layer, int64_t prompts) const;          // [U·K, W, D]
    at::Tensor row_k(int64_t layer, int64_t rows, int64_t time) const;  // [n·K, time, D]
    at::Tensor row_v(int64_t layer, int64_t rows, int64_t time) const;  // [n·K, time, D]
    int64_t prompt_width() const { return prompt_k_[0].size(2); }
    int64_t time_capacity() const { return row_k_[0].size(2); }
    int64_t kv_heads() const { return kv_heads_; }

  private:
    using Layers = std::vector<at::Tensor>;
    /// Gives both of a pair at least this size of a dimension, and up to `most` where that is more.
    static void grow(Layers& keys, Layers& values, int64_t dimension, int64_t size,
                     int64_t most = std::numeric_limits<int64_t>::max());

    const ModelConfig& config_;
    at::ScalarType dtype_;
    int64_t kv_heads_, most_prompts_, most_rows_, group_size_, most_time_;
    int64_t prompts_ = 0, rows_ = 0;  // that are open
    Layers prompt_k_, prompt_v_;      // per layer [U_max, K, W, D]
    Layers row_k_, row_v_;            // per layer [n_max, K, T, D]
};

}  // namespace grpo
