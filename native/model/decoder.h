// The decoder-only transformer that Qwen2 and Llama share: RMSNorm, rotary attention with grouped
// keys, SwiGLU. All that differs between families is data in ModelConfig. Modules carry the
// checkpoint's names. Plain structs, no torch modules: injection, naming and freezing stay visible.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "batch.h"
#include "model/attention.h"
#include "model/linear.h"
#include "model/rope.h"

namespace grpo {

struct DecoderLayer {
    at::Tensor input_layernorm;           // [C]
    at::Tensor post_attention_layernorm;  // [C]
    Linear qkv;                           // parts q_proj, k_proj, v_proj
    Linear o_proj;
    Linear gate_up;  // parts gate_proj, up_proj
    Linear down_proj;
};

class Decoder {
  public:
    /// Allocates all weights, uninitialised.
    Decoder(const ModelConfig& config, at::ScalarType dtype, at::Device device);

    /// ids [N], positions [N] int64 -> hidden [N, C] before the last norm.
    at::Tensor forward(const at::Tensor& ids, const at::Tensor& positions, Attention& attention,
                       const ForwardMode& mode) const;
    /// hidden [n, C] -> [n, C], the input of the output layer.
    at::Tensor final_norm(const at::Tensor& hidden) const;
    /// normed [n, C] -> [n, V] in fp32 (or fp64), before temperature.
    at::Tensor logits(const at::Tensor& normed) const;

    /// Every checkpoint tensor by name, as views to write into. The output layer is absent when
    /// tied.
    std::vector<std::pair<std::string, at::Tensor>> named_tensors() const;
    /// Every linear layer that can carry an adapter.
    std::vector<Linear*> linears();

    const ModelConfig& config() const { return config_; }
    const at::Tensor& output_weight() const { return output_; }  // [V, C]
    /// Of activations and caches; the weights' own, but where the processor computes in a wider
    /// one.
    at::ScalarType dtype() const { return compute_dtype_; }
    at::Device device() const { return embed_tokens_.device(); }

  private:
    at::Tensor layer_forward(int64_t index, const at::Tensor& hidden, const RopeTable& rope,
                             Attention& attention, const ForwardMode& mode) const;

    ModelConfig config_;
    at::ScalarType compute_dtype_;
    at::Tensor embed_tokens_;  // [V, C]
    at::Tensor norm_;          // [C]
    at::Tensor output_;        // [V, C], the embedding itself when tied
    at::Tensor inv_freq_;      // [D / 2] fp32
    std::vector<DecoderLayer> layers_;
};

/// x [n, C] / sqrt(mean(x²) + eps) in fp32, rounded to x's dtype, times weight (Zhang & Sennrich
/// 2019).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace grpo
