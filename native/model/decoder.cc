#include "model/decoder.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "cpu/instruction_set.h"
#include "cpu/row_ops.h"
#include "device.h"
#include "model/recompute.h"
#include "model/rows.h"

namespace grpo {
namespace {

/// Allocates the weights of one layer, uninitialised, under their checkpoint names.
class LayerMaker {
  public:
    LayerMaker(const ModelConfig& config, int64_t index, const at::TensorOptions& options)
        : c_(config),
          layer_("model.layers." + std::to_string(index) + "."),
          attention_(layer_ + "self_attn."),
          mlp_(layer_ + "mlp."),
          options_(options) {}

    DecoderLayer make() const {
        // Where outputs are normed too, the norm before the MLP has a name of its own.
        const std::string before_mlp =
            c_.post_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm";
        const int64_t hidden = c_.hidden_size, queries = c_.num_heads * c_.head_dim;
        return {
            .before_attention = norm(c_.pre_norms, layer_ + "input_layernorm", hidden),
            .after_attention = norm(c_.post_norms, layer_ + "post_attention_layernorm", hidden),
            .before_mlp = norm(c_.pre_norms, layer_ + before_mlp, hidden),
            .after_mlp = norm(c_.post_norms, layer_ + "post_feedforward_layernorm", hidden),
            .q_norm = head_norm("q_norm", c_.num_heads),
            .k_norm = head_norm("k_norm", c_.num_kv_heads),
            .qkv = qkv(),
            .o_proj = Linear({{attention_ + "o_proj", hidden}}, queries, c_.output_bias, options_),
            .gate_up = gate_up(),
            .down_proj =
                Linear({{mlp_ + "down_proj", hidden}}, c_.intermediate_size, c_.mlp_bias, options_),
        };
    }

  private:
    Norm norm(bool present, const std::string& name, int64_t size) const {
        return {name, present ? at::empty({size}, options_) : at::Tensor()};
    }

    Norm head_norm(const char* name, int64_t heads) const {
        const int64_t size = c_.qk_norm == QkNorm::kFull ? heads * c_.head_dim : c_.head_dim;
        return norm(c_.qk_norm != QkNorm::kNone, attention_ + name, size);
    }

    Linear qkv() const {
        const int64_t q = c_.num_heads * c_.head_dim, kv = c_.num_kv_heads * c_.head_dim;
        std::vector<LinearPart> parts;
        if (c_.fused_projections) {
            parts = {{attention_ + "qkv_proj", q + 2 * kv}};
        } else {
            parts = {{attention_ + "q_proj", q},
                     {attention_ + "k_proj", kv},
                     {attention_ + "v_proj", kv}};
        }
        return Linear(std::move(parts), c_.hidden_size, c_.qkv_bias, options_);
    }

    Linear gate_up() const {
        const int64_t size = c_.intermediate_size;
        std::vector<LinearPart> parts;
        if (c_.fused_projections) {
            parts = {{mlp_ + "gate_up_proj", 2 * size}};
        } else {
            parts = {{mlp_ + "gate_proj", size}, {mlp_ + "up_proj", size}};
        }
        return Linear(std::move(parts), c_.hidden_size, c_.mlp_bias, options_);
    }

    const ModelConfig& c_;
    std::string layer_, attention_, mlp_;
    at::TensorOptions options_;
};

/// The dtype of activations for weights of `dtype` on `device`.
at::ScalarType activation_dtype(at::ScalarType dtype, at::Device device) {
    const bool narrow = dtype == at::kBFloat16 || dtype == at::kHalf;
    if (!narrow || !device.is_cpu()) return dtype;
    // fp16 has no fast products in ATen on any CPU.
    const bool has_bf16 = cpu::instruction_set() == cpu::InstructionSet::kAvx512Bf16;
    return dtype == at::kBFloat16 && has_bf16 ? dtype : at::kFloat;
}

/// A number as a tensor of that dtype would hold it.
double rounded(double value, at::ScalarType dtype) {
    return at::scalar_tensor(value, at::TensorOptions().dtype(dtype)).item<double>();
}

/// rows [N, C] of the base -> the same with the pair on top; no dropout, as PEFT has it.
at::Tensor embed_with_pair(const at::Tensor& rows, const Lora& lora, const at::Tensor& ids) {
    const at::ScalarType dtype = rows.scalar_type();
    const at::Tensor delta =
        at::linear(take_rows(lora.a.t(), ids).to(dtype) * lora.scaling, lora.b.to(dtype));
    if (!lora.magnitude.defined()) return rows + delta;
    const at::Tensor c = (lora.magnitude / lora.weight_norm).to(dtype);  // [C]
    return c * rows + c * delta;
}

/// rows [N, C] with those of the trained tokens in their places.
at::Tensor with_token_rows(const at::Tensor& rows, const TokenRows& own, const at::Tensor& ids) {
    const int64_t count = own.rows.master.size(0);
    const at::Tensor places = at::index(own.places, {ids});  // [N]
    const at::Tensor is_own = (places < count).unsqueeze(1);
    const at::Tensor values = take_rows(own.rows.value(), places.clamp_max(count - 1));
    return at::where(is_own, values.to(rows.scalar_type()), rows);
}

/// Where a backward follows, a part of qkv that is kept would keep q and k as they were before the
/// rotation.
at::Tensor own_copy(const at::Tensor& part) {
    return c10::GradMode::is_enabled() ? part.contiguous() : part;
}

}  // namespace

Decoder::Decoder(const ModelConfig& config, at::ScalarType dtype, at::Device device)
    : config_(config),
      compute_dtype_(activation_dtype(dtype, device)),
      embedding_scale_(rounded(config.embedding_scale, dtype)) {
    const auto options = at::TensorOptions().dtype(dtype).device(device);
    embed_tokens_ = dense_weight(at::empty({config.vocab_size, config.hidden_size}, options));
    norm_ = {"model.norm", at::empty({config.hidden_size}, options)};
    for (int64_t i = 0; i < config.num_layers; ++i)
        layers_.push_back(LayerMaker(config_, i, options).make());
    const bool classifies = config.num_labels > 0;
    const int64_t outputs = classifies ? config.num_labels : config.vocab_size;
    output_ = Linear({{classifies ? kScore : kOutput, outputs}}, config.hidden_size,
                     /*bias=*/false, options.device(at::kMeta));  // its weight follows
    tied_ = config.tie_word_embeddings && !classifies;
    output_.weight =
        tied_ ? embed_tokens_ : dense_weight(at::empty({outputs, config.hidden_size}, options));
    number_modules();
}

void Decoder::number_modules() {
    const auto add_norm = [&](Norm& norm) {
        if (!norm.weight.defined()) return;
        norm.index = static_cast<int64_t>(norms_.size());
        norms_.push_back(&norm);
    };
    const auto add_linear = [&](Linear& linear) {
        linear.index = static_cast<int64_t>(linears_.size());
        linears_.push_back(&linear);
    };
    for (DecoderLayer& layer : layers_) {
        for (Norm* norm : {&layer.before_attention, &layer.after_attention, &layer.before_mlp,
                           &layer.after_mlp, &layer.q_norm, &layer.k_norm}) {
            add_norm(*norm);
        }
        for (Linear* linear : {&layer.qkv, &layer.o_proj, &layer.gate_up, &layer.down_proj})
            add_linear(*linear);
    }
    add_norm(norm_);
    add_linear(output_);
}

void Decoder::set_tied(bool tied) {
    tied_ = tied;
    output_.weight = tied ? embed_tokens_ : embed_tokens_->copy();
}

RopeTables Decoder::rope_tables(const at::Tensor& positions, int64_t context_length) const {
    RopeTables ropes;
    for (const RopeConfig& rope : config_.ropes)
        ropes.push_back(make_rope_table(rope, positions, context_length, compute_dtype_));
    return ropes;
}

at::Tensor Decoder::forward(const at::Tensor& ids, const RopeTables& ropes,
                            const std::shared_ptr<Attention>& attention,
                            const ForwardMode& mode) const {
    at::Tensor hidden = embed(ids, mode);  // [N, C]
    for (int64_t i = 0; i < config_.num_layers; ++i) {
        if (mode.recompute && c10::GradMode::is_enabled()) {
            const Block layer = [this, i, ropes, attention, mode](const at::Tensor& input) {
                return layer_forward(i, input, ropes, *attention, mode);
            };
            hidden = recomputed(hidden, layer, mode.generator);
        } else {
            hidden = layer_forward(i, hidden, ropes, *attention, mode);
        }
    }
    return hidden;
}

at::Tensor Decoder::embed(const at::Tensor& ids, const ForwardMode& mode) const {
    const EmbeddingAdapter* adapter = mode.adapter ? &mode.adapter->embedding() : nullptr;
    const bool trained = adapter && adapter->weight.defined();
    at::Tensor rows = (trained ? take_rows(adapter->weight.value(), ids) : embed_tokens_->rows(ids))
                          .to(compute_dtype_);
    if (adapter && adapter->lora) rows = embed_with_pair(rows, *adapter->lora, ids);
    if (adapter && adapter->rows) rows = with_token_rows(rows, *adapter->rows, ids);
    return embedding_scale_ == 1 ? rows : rows * embedding_scale_;
}

at::Tensor Decoder::layer_forward(int64_t index, const at::Tensor& hidden, const RopeTables& ropes,
                                  Attention& attention, const ForwardMode& mode) const {
    const DecoderLayer& layer = layers_[index];
    const at::Tensor between =
        add_block(hidden, attention_block(index, hidden, ropes, attention, mode),
                  layer.after_attention, mode);
    return add_block(between, mlp_block(layer, between, mode), layer.after_mlp, mode);
}

at::Tensor Decoder::attention_block(int64_t index, const at::Tensor& hidden,
                                    const RopeTables& ropes, Attention& attention,
                                    const ForwardMode& mode) const {
    const DecoderLayer& layer = layers_[index];
    const auto [q, k, v] = queries_keys_values(
        index, layer.qkv.forward(through_norm(hidden, layer.before_attention, mode), mode), ropes,
        mode);
    return layer.o_proj.forward({attention.attend(index, q, k, v)}, mode);
}

std::array<at::Tensor, 3> Decoder::queries_keys_values(int64_t index, const at::Tensor& qkv,
                                                       const RopeTables& ropes,
                                                       const ForwardMode& mode) const {
    const DecoderLayer& layer = layers_[index];
    const int64_t n = qkv.size(0), heads = config_.num_heads, kv_heads = config_.num_kv_heads,
                  dim = config_.head_dim, rope = config_.layers[index].rope;
    if (rope >= 0 && config_.qk_norm == QkNorm::kNone && !cpu::fits(qkv)) {
        // Operators cost more than elements: one rotation for q and k.
        const auto parts =
            at::split_with_sizes(qkv.view({n, -1, dim}), {heads + kv_heads, kv_heads}, 1);
        const auto turned =
            at::split_with_sizes(apply_rope(parts[0], ropes[rope]), {heads, kv_heads}, 1);
        return {turned[0], turned[1], own_copy(parts[1])};
    }
    const auto parts = at::split_with_sizes(qkv, {heads * dim, kv_heads * dim, kv_heads * dim}, -1);
    const bool full = config_.qk_norm == QkNorm::kFull;
    // Over all heads together, or over each.
    const auto split = [&](const at::Tensor& x, int64_t count, const Norm& norm) {
        return full ? apply_norm(x, norm, mode).view({n, count, dim})
                    : apply_norm(x.view({n, count, dim}), norm, mode);
    };
    at::Tensor q = split(parts[0], heads, layer.q_norm),
               k = split(parts[1], kv_heads, layer.k_norm);
    if (rope >= 0) {
        q = apply_rope(q, ropes[rope]);
        k = apply_rope(k, ropes[rope]);
    }
    return {q, k, own_copy(parts[2]).view({n, kv_heads, dim})};
}

at::Tensor Decoder::mlp_block(const DecoderLayer& layer, const at::Tensor& hidden,
                              const ForwardMode& mode) const {
    const at::Tensor gate_up =
        layer.gate_up.forward(through_norm(hidden, layer.before_mlp, mode), mode);  // [N, 2F]
    LinearInput activated;
    activated.x = gate_up;
    activated.activation = config_.activation;
    return layer.down_proj.forward(activated, mode);
}

at::Tensor Decoder::add_block(const at::Tensor& hidden, at::Tensor block, const Norm& norm,
                              const ForwardMode& mode) const {
    return norm.weight.defined() ? hidden + apply_norm(block, norm, mode) : block.add_(hidden);
}

LinearInput Decoder::through_norm(const at::Tensor& x, const Norm& norm,
                                  const ForwardMode& mode) const {
    LinearInput input;
    input.x = x;
    if (!norm.weight.defined()) return input;
    const bool trained = mode.adapter && mode.adapter->norm(norm.index).defined();
    input.norm_weight = trained ? mode.adapter->norm(norm.index).value() : norm.weight;
    input.norm = {config_.rms_norm_eps, config_.norm_offset};
    return input;
}

at::Tensor Decoder::apply_norm(const at::Tensor& x, const Norm& norm,
                               const ForwardMode& mode) const {
    return through_norm(x, norm, mode).value();
}

at::Tensor Decoder::final_norm(const at::Tensor& hidden, const ForwardMode& mode) const {
    return apply_norm(hidden, norm_, mode);
}

at::Tensor Decoder::logits(const at::Tensor& normed, const ForwardMode& mode) const {
    const at::Tensor logits = output_.forward({normed}, mode);
    return softcap(logits.to(at::promote_types(compute_dtype_, at::kFloat)), config_.logit_softcap);
}

std::vector<NamedTensor> Decoder::named_tensors() const {
    std::vector<NamedTensor> tensors{
        named_tensor(std::string(kEmbedding) + ".weight", embed_tokens_)};
    for (const Norm* norm : norms_) tensors.push_back(named_tensor(norm->name(), norm->weight));
    for (const Linear* linear : linears_) {
        if (tied_ && linear == &output_) continue;
        for (size_t part = 0; part < linear->parts().size(); ++part) {
            const std::string& module = linear->parts()[part].module;
            tensors.push_back(named_tensor(module + ".weight", linear->part_weight(part)));
            if (linear->bias.defined())
                tensors.push_back(named_tensor(module + ".bias", linear->part_bias(part)));
        }
    }
    return tensors;
}

void Decoder::share_with(const Adapter& adapter) {
    embed_tokens_ = dense_weight(adapter.embedding().weight.stored());
    for (Norm* norm : norms_) norm->weight = adapter.norm(norm->index).stored();
    for (Linear* linear : linears_) {
        const LinearAdapter* trained = adapter.linear(linear->index);
        linear->weight = dense_weight(trained->weight.whole.stored());
        if (linear->bias.defined()) linear->bias = trained->bias.whole.stored();
    }
    if (tied_) output_.weight = embed_tokens_;
}

void Decoder::unshare() {
    embed_tokens_ = embed_tokens_->copy();
    for (Norm* norm : norms_) norm->weight = norm->weight.clone();
    for (Linear* linear : linears_) {
        linear->weight = tied_ && linear == &output_ ? embed_tokens_ : linear->weight->copy();
        if (linear->bias.defined()) linear->bias = linear->bias.clone();
    }
}

}  // namespace grpo
