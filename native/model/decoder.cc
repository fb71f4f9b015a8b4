#include "model/decoder.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "device.h"
#include "model/adapter.h"
#include "model/recompute.h"
#include "model/rows.h"

namespace grpo {
namespace {

/// The dtype of activations for weights of `dtype` on `device`. On a CPU all between two products
/// is fp32; a product of bf16 weights rounds what it reads.
at::ScalarType activation_dtype(at::ScalarType dtype, at::Device device) {
    const bool narrow = dtype == at::kBFloat16 || dtype == at::kHalf;
    return narrow && device.is_cpu() ? at::kFloat : dtype;
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

DecoderLayer make_layer(const BaseModel& base, const ModelConfig& config, int64_t index) {
    const auto& [attention, feed_forward] = base.modules().layers[index];
    const auto norm = [&](const std::optional<NormModule>& module) {
        return Norm(base, module, norm_parameters(config));
    };
    return {.before_attention = norm(attention.before),
            .attention = SelfAttention(base, attention, config, index),
            .after_attention = norm(attention.after),
            .before_feed_forward = norm(feed_forward.before),
            .feed_forward = make_feed_forward(base, feed_forward, config.activation),
            .after_feed_forward = norm(feed_forward.after)};
}

/// hidden + after(branch(residual)), where the branch adds the residual that it is given: on an
/// accelerator its last product does so for nothing. Where that is not so, it is overwritten.
template <typename F>
at::Tensor add_branch(const at::Tensor& hidden, const Norm& after, const ForwardMode& mode,
                      const F& branch) {
    if (after.exists()) return hidden + after.apply(branch(at::Tensor()), mode);
    if (has_fused_kernels(hidden.device())) return branch(hidden);
    return branch(at::Tensor()).add_(hidden);
}

}  // namespace

Decoder::Decoder(const ModelConfig& config, at::ScalarType dtype, at::Device device)
    : config_(config),
      compute_dtype_(activation_dtype(dtype, device)),
      embedding_scale_(rounded(config.embedding_scale, dtype)),
      base_(config, dtype, device),
      norm_(base_, base_.modules().norm, norm_parameters(config)),
      output_(base_, base_.modules().output) {
    for (int64_t i = 0; i < config.num_layers; ++i)
        layers_.push_back(make_layer(base_, config_, i));
}

cpu::Storage Decoder::storage() const {
    return base_.dtype() == at::kBFloat16 ? cpu::Storage::kBFloat16 : cpu::Storage::kFloat;
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
    for (const DecoderLayer& layer : layers_) {
        if (mode.recompute && c10::GradMode::is_enabled()) {
            const Block block = [this, &layer, ropes, attention, mode](const at::Tensor& input) {
                return layer_forward(layer, input, ropes, *attention, mode);
            };
            hidden = recomputed(hidden, block, mode.generator);
        } else {
            hidden = layer_forward(layer, hidden, ropes, *attention, mode);
        }
    }
    return hidden;
}

at::Tensor Decoder::embed(const at::Tensor& ids, const ForwardMode& mode) const {
    const EmbeddingAdapter* adapter = mode.adapter ? &mode.adapter->embedding() : nullptr;
    const bool trained = adapter && adapter->weight.defined();
    at::Tensor rows =
        trained ? take_rows(adapter->weight.value(), ids) : base_.embedding->rows(ids);
    rows = rows.to(compute_dtype_);
    if (adapter && adapter->lora) rows = embed_with_pair(rows, *adapter->lora, ids);
    if (adapter && adapter->rows) rows = with_token_rows(rows, *adapter->rows, ids);
    return embedding_scale_ == 1 ? rows : rows * embedding_scale_;
}

at::Tensor Decoder::layer_forward(const DecoderLayer& layer, const at::Tensor& hidden,
                                  const RopeTables& ropes, Attention& attention,
                                  const ForwardMode& mode) const {
    const at::Tensor between =
        add_branch(hidden, layer.after_attention, mode, [&](const at::Tensor& residual) {
            return layer.attention.forward(layer.before_attention.through(hidden, mode), ropes,
                                           attention, mode, residual);
        });
    return add_branch(between, layer.after_feed_forward, mode, [&](const at::Tensor& residual) {
        return layer.feed_forward->forward(layer.before_feed_forward.through(between, mode), mode,
                                           residual);
    });
}

at::Tensor Decoder::final_norm(const at::Tensor& hidden, const ForwardMode& mode) const {
    return norm_.apply(hidden, mode);
}

at::Tensor Decoder::logits(const at::Tensor& normed, const ForwardMode& mode) const {
    const at::Tensor logits = output_.forward({normed}, mode);
    return softcap(logits.to(at::promote_types(compute_dtype_, at::kFloat)), config_.logit_softcap);
}

StackedPairsTable Decoder::stacked_pairs(const ForwardMode& mode) const {
    StackedPairsTable table;
    for (const LinearModule* module : base_.modules().linears())
        table.push_back(Linear(base_, *module).stacked_pairs(mode, compute_dtype_));
    return table;
}

}  // namespace grpo
