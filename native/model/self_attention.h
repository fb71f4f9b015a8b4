// Self-attention of a layer, but for which token sees which (attention.h): queries, keys and values
// of one product, normed and turned, and the projection of what attention gives.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "model/attention.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/rope.h"

namespace grpo {

class SelfAttention {
  public:
    SelfAttention(const BaseModel& base, const AttentionModules& modules, const ModelConfig& config,
                  int64_t layer);

    /// [N, C], through the norm before it -> [N, C], added to the residual if one is given, as
    /// Linear::forward() has it.
    at::Tensor forward(const LinearInput& input, const RopeTables& ropes, Attention& attention,
                       const ForwardMode& mode, const at::Tensor& residual) const;

    const Linear qkv;           // -> [N, (H + 2 K) · D]
    const Norm q_norm, k_norm;  // over each head, or over all together
    const Linear output;        // H · D -> C

  private:
    /// [N, (H + 2 K) · D] -> q [N, H, D], k and v [N, K, D], q and k normed and turned.
    std::array<at::Tensor, 3> queries_keys_values(const at::Tensor& qkv, const RopeTables& ropes,
                                                  const ForwardMode& mode) const;

    int64_t layer_, heads_, kv_heads_, head_dim_;
    int64_t rope_;  // index into the tables; -1: none
};

}  // namespace grpo
