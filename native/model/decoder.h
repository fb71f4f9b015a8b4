// The decoder-only transformer of today's language models: RMSNorm, rotary attention with grouped
// keys, a feed-forward. All that differs between families is data: numbers in ModelConfig, modules
// in the table. No torch modules: injection, naming and freezing stay visible.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "model/attention.h"
#include "model/base_model.h"
#include "model/feed_forward.h"
#include "model/linear.h"
#include "model/norm.h"
#include "model/rope.h"
#include "model/self_attention.h"
#include "model_spec.h"

namespace grpo {

/// Two branches beside the stream of hidden states, each between norms that may be absent:
///   h = h + after(attention(before(h)))
///   h = h + after(feed_forward(before(h)))
struct DecoderLayer {
    Norm before_attention;
    SelfAttention attention;
    Norm after_attention;
    Norm before_feed_forward;
    std::unique_ptr<FeedForward> feed_forward;
    Norm after_feed_forward;
};

class Decoder {
  public:
    /// Allocates all weights, uninitialised.
    Decoder(const ModelConfig& config, at::ScalarType dtype, at::Device device);
    Decoder(const Decoder&) = delete;
    Decoder& operator=(const Decoder&) = delete;

    /// ids [N] int64 -> [N, C], the input of the first layer.
    at::Tensor embed(const at::Tensor& ids, const ForwardMode& mode) const;
    /// positions [N] int64 -> one table for each of config.ropes.
    RopeTables rope_tables(const at::Tensor& positions, int64_t context_length) const;
    /// ids [N] int64 with the tables of their positions -> hidden [N, C] before the last norm.
    at::Tensor forward(const at::Tensor& ids, const RopeTables& ropes,
                       const std::shared_ptr<Attention>& attention, const ForwardMode& mode) const;
    /// hidden [n, C] -> [n, C], the input of the output layer.
    at::Tensor final_norm(const at::Tensor& hidden, const ForwardMode& mode) const;
    /// normed [n, C] -> [n, V] in fp32 (or fp64), before temperature; of a classifier [n, labels].
    at::Tensor logits(const at::Tensor& normed, const ForwardMode& mode) const;
    /// The pairs of all linear layers, for passes without gradient.
    StackedPairsTable stacked_pairs(const ForwardMode& mode) const;

    BaseModel& base() { return base_; }
    const BaseModel& base() const { return base_; }
    const std::vector<DecoderLayer>& layers() const { return layers_; }
    const Norm& last_norm() const { return norm_; }
    const Linear& output() const { return output_; }

    const ModelConfig& config() const { return config_; }
    /// Dtype of activations and caches; the weights' own, but on a CPU at least fp32.
    at::ScalarType dtype() const { return compute_dtype_; }
    /// What the products of a CPU multiply, and its caches keep.
    cpu::Storage storage() const;
    at::Device device() const { return base_.device(); }

  private:
    at::Tensor layer_forward(const DecoderLayer& layer, const at::Tensor& hidden,
                             const RopeTables& ropes, Attention& attention,
                             const ForwardMode& mode) const;

    ModelConfig config_;
    at::ScalarType compute_dtype_;
    double embedding_scale_;
    BaseModel base_;
    std::vector<DecoderLayer> layers_;
    Norm norm_;
    Linear output_;  // lm_head or score
};

}  // namespace grpo
