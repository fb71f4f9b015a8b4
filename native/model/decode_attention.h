// One decode step by operators that every device has: one new token for every live row, attending
// to its prompt and to its own tokens so far.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <vector>

#include "model/attention.h"
#include "model/kv_cache.h"
#include "model/step_cache.h"

namespace grpo {

class DecodeInputs : public StepInputs {
  public:
    DecodeInputs(const DecodeShape& shape, int64_t kv_heads, at::Device device);
    /// Rows, prompts and times within the shape. What the shape has beyond them computes on zeros
    /// or on what lies in the cache, and nobody reads the result.
    void write(const DecodeRows& rows, const std::vector<double>& uniforms) override;

    const DecodeShape& shape() const { return shape_; }
    at::Tensor times, prompt_length;  // [n] of each row
    at::Tensor row, head;             // [n, 1] and [1, K]: 0, 1, 2, ...
    at::Tensor to_group;              // [U · K · Gm] -> row · K + head; any for an empty place
    at::Tensor to_row;                // [n · K] -> place in to_group

  private:
    DecodeShape shape_;
    int64_t kv_heads_;
    at::Tensor packed_;  // all of the above, int64; the uniforms by their bits
};

class DecodeAttention : public Attention {
  public:
    DecodeAttention(const ModelConfig& config, KvCache& cache, const DecodeInputs& inputs,
                    at::ScalarType dtype);
    at::Tensor attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v) override;

  private:
    at::Tensor group_rows(const at::Tensor& rows) const;  // [n·K, r, X] -> [U·K, Gm·r, X]
    at::Tensor ungroup_rows(const at::Tensor& grouped, int64_t repeats) const;  // and back
    const at::Tensor& mask(int64_t window);

    const ModelConfig& config_;
    KvCache& cache_;
    const DecodeInputs& inputs_;
    DecodeShape shape_;
    at::ScalarType mask_dtype_;
    std::map<int64_t, at::Tensor> mask_;  // window -> [n, 1, 1, W + Tm] additive, fp32
};

}  // namespace grpo
