// The decoder-only transformer of today's language models: RMSNorm, rotary attention with grouped
// keys, a gated MLP. All that differs between families is data in ModelConfig. Modules carry the
// checkpoint's names. Plain structs, no torch modules: injection, naming and freezing stay visible.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch.h"
#include "model/attention.h"
#include "model/linear.h"
#include "model/rope.h"

namespace grpo {

/// A norm's weight with its name in the checkpoint; undefined where the family has none.
struct Norm {
    std::string name;
    at::Tensor weight;
};

struct DecoderLayer {
    Norm before_attention;
    Norm after_attention;
    Norm before_mlp;
    Norm after_mlp;
    Norm q_norm;
    Norm k_norm;
    Linear qkv;  // parts q_proj, k_proj, v_proj, or qkv_proj alone
    Linear o_proj;
    Linear gate_up;  // parts gate_proj, up_proj, or gate_up_proj alone
    Linear down_proj;
};

class Decoder {
  public:
    /// Allocates all weights, uninitialised.
    Decoder(const ModelConfig& config, at::ScalarType dtype, at::Device device);

    /// ids [N], positions [N] int64 -> hidden [N, C] before the last norm.
    at::Tensor forward(const at::Tensor& ids, const at::Tensor& positions,
                       const std::shared_ptr<Attention>& attention, const ForwardMode& mode) const;
    /// hidden [n, C] -> [n, C], the input of the output layer.
    at::Tensor final_norm(const at::Tensor& hidden, const ForwardMode& mode) const;
    /// normed [n, C] -> [n, V] in fp32 (or fp64), before temperature.
    at::Tensor logits(const at::Tensor& normed, const ForwardMode& mode) const;

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
    using RopeTables = std::vector<RopeTable>;  // one for each of config.ropes

    at::Tensor embed(const at::Tensor& ids, const ForwardMode& mode) const;
    at::Tensor layer_forward(int64_t index, const at::Tensor& hidden, const RopeTables& ropes,
                             Attention& attention, const ForwardMode& mode) const;
    at::Tensor attention_block(int64_t index, const at::Tensor& normed, const RopeTables& ropes,
                               Attention& attention, const ForwardMode& mode) const;
    at::Tensor mlp_block(const DecoderLayer& layer, const at::Tensor& normed,
                         const ForwardMode& mode) const;
    /// x itself where the norm is absent.
    at::Tensor apply_norm(const at::Tensor& x, const Norm& norm) const;

    ModelConfig config_;
    at::ScalarType compute_dtype_;
    at::Tensor embed_tokens_;  // [V, C]
    double embedding_scale_ = 1;
    Norm norm_;          // [C]
    at::Tensor output_;  // [V, C], the embedding itself when tied
    std::vector<DecoderLayer> layers_;
};

/// x [.., C] / sqrt(mean(x²) + eps) in fp32 (Zhang & Sennrich 2019), rounded to x's dtype, times
/// weight. With an offset: times (offset + weight) in fp32, then rounded, as Gemma has it.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset = 0);

}  // namespace grpo
