#include "model/decoder.h"

#include <ATen/Functions.h>

#include "device.h"
#include "model/frozen_linear.h"
#include "model/rows.h"

namespace grpo {
namespace {

DecoderLayer make_layer(const ModelConfig& c, int64_t index, const at::TensorOptions& options) {
    const std::string layer = "model.layers." + std::to_string(index) + ".";
    const std::string attention = layer + "self_attn.", mlp = layer + "mlp.";
    const int64_t q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
    return {
        .input_layernorm = at::empty({c.hidden_size}, options),
        .post_attention_layernorm = at::empty({c.hidden_size}, options),
        .qkv = Linear({{attention + "q_proj", q, {}},
                       {attention + "k_proj", kv, {}},
                       {attention + "v_proj", kv, {}}},
                      c.hidden_size, c.qkv_bias, options),
        .o_proj = Linear({{attention + "o_proj", c.hidden_size, {}}}, q, c.output_bias, options),
        .gate_up = Linear({{mlp + "gate_proj", c.intermediate_size, {}},
                           {mlp + "up_proj", c.intermediate_size, {}}},
                          c.hidden_size, c.mlp_bias, options),
        .down_proj = Linear({{mlp + "down_proj", c.hidden_size, {}}}, c.intermediate_size,
                            c.mlp_bias, options),
    };
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
    const at::Tensor wide = x.to(at::promote_types(x.scalar_type(), at::kFloat));
    const at::Tensor normed = wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
    return normed.to(x.scalar_type()) * weight;
}

Decoder::Decoder(const ModelConfig& config, at::ScalarType dtype, at::Device device)
    : config_(config), compute_dtype_(grpo::compute_dtype(dtype, device)) {
    const auto options = at::TensorOptions().dtype(dtype).device(device);
    embed_tokens_ = at::empty({config.vocab_size, config.hidden_size}, options);
    norm_ = at::empty({config.hidden_size}, options);
    output_ = config.tie_word_embeddings ? embed_tokens_ : at::empty_like(embed_tokens_);
    inv_freq_ = to_device(config.rope_inv_freq, device);
    for (int64_t i = 0; i < config.num_layers; ++i)
        layers_.push_back(make_layer(config, i, options));
}

at::Tensor Decoder::forward(const at::Tensor& ids, const at::Tensor& positions,
                            Attention& attention, const ForwardMode& mode) const {
    const RopeTable rope =
        make_rope_table(positions, inv_freq_, config_.rope_scaling, compute_dtype_);
    at::Tensor hidden = take_rows(embed_tokens_, ids).to(compute_dtype_);  // [N, C]
    for (int64_t i = 0; i < config_.num_layers; ++i) {
        hidden = layer_forward(i, hidden, rope, attention, mode);
    }
    return hidden;
}

at::Tensor Decoder::layer_forward(int64_t index, const at::Tensor& hidden, const RopeTable& rope,
                                  Attention& attention, const ForwardMode& mode) const {
    const DecoderLayer& layer = layers_[index];
    const int64_t n = hidden.size(0);
    const auto qkv =
        layer.qkv.forward(rms_norm(hidden, layer.input_layernorm, config_.rms_norm_eps), mode);
    const at::Tensor q = apply_rope(qkv[0].view({n, config_.num_heads, config_.head_dim}), rope);
    const at::Tensor k = apply_rope(qkv[1].view({n, config_.num_kv_heads, config_.head_dim}), rope);
    const at::Tensor v = qkv[2].view({n, config_.num_kv_heads, config_.head_dim});
    const at::Tensor attended = attention.attend(index, q, k, v);  // [N, H·D]
    const at::Tensor after_attention = hidden + layer.o_proj.forward_one(attended, mode);

    const at::Tensor normed =
        rms_norm(after_attention, layer.post_attention_layernorm, config_.rms_norm_eps);
    const auto gate_up = layer.gate_up.forward(normed, mode);  // 2 × [N, F]
    const at::Tensor activated = at::silu(gate_up[0]) * gate_up[1];
    return after_attention + layer.down_proj.forward_one(activated, mode);
}

at::Tensor Decoder::final_norm(const at::Tensor& hidden) const {
    return rms_norm(hidden, norm_, config_.rms_norm_eps);
}

at::Tensor Decoder::logits(const at::Tensor& normed) const {
    return frozen_linear(normed, output_, {}).to(at::promote_types(compute_dtype_, at::kFloat));
}

std::vector<std::pair<std::string, at::Tensor>> Decoder::named_tensors() const {
    std::vector<std::pair<std::string, at::Tensor>> tensors{
        {"model.embed_tokens.weight", embed_tokens_}};
    for (int64_t i = 0; i < config_.num_layers; ++i) {
        const DecoderLayer& layer = layers_[i];
        const std::string prefix = "model.layers." + std::to_string(i) + ".";
        tensors.emplace_back(prefix + "input_layernorm.weight", layer.input_layernorm);
        for (const Linear* linear : {&layer.qkv, &layer.o_proj, &layer.gate_up, &layer.down_proj}) {
            for (size_t part = 0; part < linear->parts().size(); ++part) {
                const std::string& module = linear->parts()[part].module;
                tensors.emplace_back(module + ".weight", linear->part_weight(part));
                if (linear->bias.defined())
                    tensors.emplace_back(module + ".bias", linear->part_bias(part));
            }
        }
        tensors.emplace_back(prefix + "post_attention_layernorm.weight",
                             layer.post_attention_layernorm);
    }
    tensors.emplace_back("model.norm.weight", norm_);
    if (!config_.tie_word_embeddings) tensors.emplace_back("lm_head.weight", output_);
    return tensors;
}

std::vector<Linear*> Decoder::linears() {
    std::vector<Linear*> linears;
    for (DecoderLayer& layer : layers_) {
        for (Linear* linear : {&layer.qkv, &layer.o_proj, &layer.gate_up, &layer.down_proj}) {
            linears.push_back(linear);
        }
    }
    return linears;
}

}  // namespace grpo
