// The decoder-only transformer of today's language models: RMSNorm, rotary attention with grouped
// keys, a gated MLP. All that differs between families is data in ModelConfig. Modules carry the
// checkpoint's names. Plain structs, no torch modules: injection, naming and freezing stay visible.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch.h"
#include "model/adapter.h"
#include "model/attention.h"
#include "model/linear.h"
#include "model/named_tensor.h"
#include "model/rope.h"

namespace grpo {

/// A norm's weight; undefined where the family has none.
struct Norm {
    std::string module;
    at::Tensor weight;
    int64_t index = 0;  // in the tables of an adapter

    std::string name() const { return module + ".weight"; }
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

    /// Every checkpoint tensor. The output layer's is absent when tied.
    std::vector<NamedTensor> named_tensors() const;

    // What an adapter can change, each numbered by its place here.
    static constexpr const char* kEmbedding = "model.embed_tokens";
    static constexpr const char* kOutput = "lm_head";
    static constexpr const char* kScore = "score";  // the output layer of a classifier
    std::vector<const Linear*> linears() const { return {linears_.begin(), linears_.end()}; }
    std::vector<const Norm*> norms() const { return {norms_.begin(), norms_.end()}; }
    const std::shared_ptr<Weight>& embedding() const { return embed_tokens_; }  // [V, C]
    const std::vector<DecoderLayer>& layers() const { return layers_; }
    const Norm& last_norm() const { return norm_; }
    const Linear& output() const { return output_; }
    /// The output layer's weight is the embedding.
    bool tied() const { return tied_; }

    /// Gives the output layer a weight of its own, or takes it away again.
    void set_tied(bool tied);
    /// The decoder's own tensors become those that an adapter of the whole model trains: one copy
    /// in memory.
    void share_with(const Adapter& adapter);
    /// Gives the decoder copies of its own again.
    void unshare();

    const ModelConfig& config() const { return config_; }
    /// Of activations and caches; the weights' own, but where the processor computes in a wider
    /// one.
    at::ScalarType dtype() const { return compute_dtype_; }
    at::ScalarType weight_dtype() const { return embed_tokens_->dtype(); }
    at::Device device() const { return embed_tokens_->device(); }

  private:
    at::Tensor layer_forward(int64_t index, const at::Tensor& hidden, const RopeTables& ropes,
                             Attention& attention, const ForwardMode& mode) const;
    at::Tensor attention_block(int64_t index, const at::Tensor& hidden, const RopeTables& ropes,
                               Attention& attention, const ForwardMode& mode) const;
    /// [N, (H + 2 K) · D] -> q [N, H, D], k and v [N, K, D], q and k normed and turned.
    std::array<at::Tensor, 3> queries_keys_values(int64_t index, const at::Tensor& qkv,
                                                  const RopeTables& ropes,
                                                  const ForwardMode& mode) const;
    at::Tensor mlp_block(const DecoderLayer& layer, const at::Tensor& hidden,
                         const ForwardMode& mode) const;
    /// hidden + the norm of what a block made, which is overwritten.
    at::Tensor add_block(const at::Tensor& hidden, at::Tensor block, const Norm& norm,
                         const ForwardMode& mode) const;
    /// x through the norm; x itself where that is absent.
    LinearInput through_norm(const at::Tensor& x, const Norm& norm, const ForwardMode& mode) const;
    at::Tensor apply_norm(const at::Tensor& x, const Norm& norm, const ForwardMode& mode) const;
    void number_modules();

    ModelConfig config_;
    at::ScalarType compute_dtype_;
    std::shared_ptr<Weight> embed_tokens_;  // [V, C]
    double embedding_scale_ = 1;
    Norm norm_;      // [C]
    Linear output_;  // lm_head, its weight the embedding itself when tied; or score
    bool tied_ = false;
    std::vector<DecoderLayer> layers_;
    std::vector<Linear*> linears_;  // into layers_ and output_
    std::vector<Norm*> norms_;
};

}  // namespace grpo
