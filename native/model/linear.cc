#include "model/linear.h"

#include <ATen/Functions.h>

#include "model/adapter.h"
#include "model/rows.h"

namespace grpo {
namespace {

/// s x Aᵀ Bᵀ. The pair is kept in fp32 and used in the dtype of x: rollout and training then round
/// alike.
at::Tensor through_pair(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                        double scaling) {
    const at::ScalarType dtype = x.scalar_type();
    return at::linear(at::linear(x, a.to(dtype)) * scaling, b.to(dtype));
}

at::Tensor drop_out(const at::Tensor& x, const ForwardMode& mode) {
    if (mode.dropout == 0) return x;
    const double keep = 1 - mode.dropout;
    return x * at::empty_like(x).bernoulli_(keep, mode.generator).div_(keep);
}

/// Masks for the pairs, drawn in their order as drop_out() draws them.
void mask_pairs(std::vector<LowRankPair>& pairs, const LinearInput& input, int64_t in,
                const ForwardMode& mode) {
    const double keep = 1 - mode.dropout;
    for (LowRankPair& pair : pairs) {
        pair.mask = at::empty({input.x.size(0), in}, input.x.options().dtype(at::kBool));
        pair.mask.bernoulli_(keep, mode.generator);
        pair.scaling /= keep;
    }
}

}  // namespace

const LinearAdapter* Linear::adapter(const ForwardMode& mode) const {
    return mode.adapter ? mode.adapter->linear(base_->module.index) : nullptr;
}

at::Tensor Linear::forward(const LinearInput& input, const ForwardMode& mode,
                           const at::Tensor& residual) const {
    const LinearAdapter* adapter = this->adapter(mode);
    // In float64 autograd takes every step by itself: what the fused layer is tested against.
    if (input.x.scalar_type() != at::kDouble && can_fuse(adapter)) {
        LinearTerms all = terms(adapter);
        all.residual = residual;
        if (mode.stacked) all.stacked = (*mode.stacked)[base_->module.index];
        if (mode.dropout > 0) mask_pairs(all.pairs, input, base_->module.in, mode);
        return fused_linear(input, all);
    }
    const at::Tensor x = input.value();
    const at::Tensor y =
        adapter ? with_adapter(*adapter, x, mode) : base_->weight->linear(x, base_->bias);
    return residual.defined() ? residual + y : y;
}

bool Linear::can_fuse(const LinearAdapter* adapter) const {
    if (!adapter) return true;
    const auto plain = [&](const std::optional<Lora>& lora) {
        return !lora || (!lora->magnitude.defined() && !lora->initial_a.defined());
    };
    const auto& parts = adapter->weight.parts;
    return !adapter->rows &&
           std::none_of(parts.begin(), parts.end(), [](const Trained& t) { return t.defined(); }) &&
           std::all_of(adapter->loras.begin(), adapter->loras.end(), plain);
}

StackedPairs Linear::stacked_pairs(const ForwardMode& mode, at::ScalarType dtype) const {
    const LinearAdapter* adapter = this->adapter(mode);
    return adapter && can_fuse(adapter) ? stack_pairs(terms(adapter), dtype) : StackedPairs();
}

LinearTerms Linear::terms(const LinearAdapter* adapter) const {
    if (!adapter) return {.weight = base_->weight, .master = {}, .bias = base_->bias, .pairs = {}};
    const Trained& whole = adapter->weight.whole;
    LinearTerms terms{.weight = whole.defined() ? dense_weight(whole.stored()) : base_->weight,
                      .master = whole.master,
                      .bias = bias_with(*adapter),
                      .pairs = {}};
    for (size_t i = 0; i < adapter->loras.size(); ++i) {
        if (const auto& lora = adapter->loras[i])
            terms.pairs.push_back({lora->a, lora->b, lora->scaling, base_->module.start(i)});
    }
    return terms;
}

at::Tensor Linear::with_adapter(const LinearAdapter& adapter, const at::Tensor& x,
                                const ForwardMode& mode) const {
    const at::Tensor b = bias_with(adapter);
    const at::Tensor all = adapter.weight.whole.defined() ? adapter.weight.whole.linear(x, b)
                                                          : base_->weight->linear(x, b);
    const std::vector<LinearPart>& parts = base_->module.parts;
    std::vector<int64_t> widths;
    for (const LinearPart& part : parts) widths.push_back(part.out);
    std::vector<at::Tensor> outputs =
        parts.size() == 1 ? std::vector<at::Tensor>{all} : at::split_with_sizes(all, widths, -1);
    for (size_t i = 0; i < parts.size(); ++i) {
        if (!adapter.weight.parts.empty() && adapter.weight.parts[i].defined())
            outputs[i] = adapter.weight.parts[i].linear(x, base_->part_of(b, i));
        if (adapter.loras[i])
            outputs[i] = with_pair(i, x, outputs[i], base_->part_of(b, i), *adapter.loras[i], mode);
    }
    if (adapter.rows) {
        const at::Tensor own = adapter.rows->rows.linear(x, {});  // [N, n]
        outputs[0] = replace_columns(outputs[0], adapter.rows->ids, own);
    }
    return outputs.size() == 1 ? outputs[0] : at::cat(outputs, -1);
}

/// y [N, out] of the base, with its bias, -> y of the base with the pair on top. As PEFT has it:
///   LoRA  y + s x̃ Aᵀ Bᵀ                            x̃ = dropout(x)
///   DoRA  y + (c - 1) W x̃ + c s x̃ Aᵀ Bᵀ            c = m / ‖W + sBA‖, W x̃ without bias
/// where W is the base less the pair's beginning, if that was taken out of it.
at::Tensor Linear::with_pair(size_t part, const at::Tensor& x, const at::Tensor& base,
                             const at::Tensor& part_bias, const Lora& lora,
                             const ForwardMode& mode) const {
    const auto beginning = [&](const at::Tensor& input) {
        return through_pair(input, lora.initial_a, lora.initial_b, lora.scaling);
    };
    const at::Tensor input = drop_out(x, mode);
    const at::Tensor delta = through_pair(input, lora.a, lora.b, lora.scaling);
    if (!lora.magnitude.defined()) {
        // Their difference first: it is zero, exactly, until the first step.
        return base + (lora.initial_a.defined() ? delta - beginning(x) : delta);
    }
    const at::Tensor y = lora.initial_a.defined() ? base - beginning(x) : base;
    at::Tensor product = part_bias.defined() ? y - part_bias : y;
    if (mode.dropout > 0) {
        product = base_->part_weight(part)->linear(input, {});
        if (lora.initial_a.defined()) product = product - beginning(input);
    }
    const at::Tensor c = (lora.magnitude / lora.weight_norm).to(x.scalar_type());
    return y + (c - 1) * product + c * delta;
}

at::Tensor Linear::bias_with(const LinearAdapter& adapter) const {
    if (adapter.bias.whole.defined()) return adapter.bias.whole.value();
    const auto& own = adapter.bias.parts;
    const bool any =
        std::any_of(own.begin(), own.end(), [](const Trained& part) { return part.defined(); });
    if (!any) return base_->bias;
    std::vector<at::Tensor> biases;
    for (size_t i = 0; i < own.size(); ++i)
        biases.push_back(own[i].defined() ? own[i].value() : base_->part_of(base_->bias, i));
    return at::cat(biases);
}

}  // namespace grpo
