#include "model/linear.h"

#include <ATen/Functions.h>

#include "model/frozen_linear.h"

namespace grpo {
namespace {

at::Tensor lora_delta(const at::Tensor& x, const Lora& lora, const ForwardMode& mode) {
    at::Tensor input = x;
    if (mode.dropout > 0) {
        const double keep = 1 - mode.dropout;
        input = x * at::empty_like(x).bernoulli_(keep, mode.generator).div_(keep);
    }
    // The pair is kept in fp32 and used in the dtype of the base: rollout and training then round
    // alike.
    const at::Tensor a = lora.a.to(x.scalar_type());
    const at::Tensor b = lora.b.to(x.scalar_type());
    return at::linear(at::linear(input, a) * lora.scaling, b);
}

}  // namespace

Linear::Linear(std::vector<LinearPart> parts, int64_t in, bool has_bias,
               const at::TensorOptions& options)
    : parts_(std::move(parts)) {
    int64_t out = 0;
    for (const LinearPart& part : parts_) {
        outs_.push_back(part.out);
        out += part.out;
    }
    weight = at::empty({out, in}, options);
    if (has_bias) bias = at::empty({out}, options);
}

std::vector<at::Tensor> Linear::forward(const at::Tensor& x, const ForwardMode& mode) const {
    const at::Tensor fused = frozen_linear(x, weight, bias);
    std::vector<at::Tensor> outputs = parts_.size() == 1 ? std::vector<at::Tensor>{fused}
                                                         : at::split_with_sizes(fused, outs_, -1);
    if (!mode.adapter) return outputs;
    for (size_t i = 0; i < parts_.size(); ++i) {
        if (parts_[i].lora) outputs[i] = outputs[i] + lora_delta(x, *parts_[i].lora, mode);
    }
    return outputs;
}

at::Tensor Linear::forward_one(const at::Tensor& x, const ForwardMode& mode) const {
    return forward(x, mode)[0];
}

at::Tensor Linear::part_weight(size_t i) const {
    int64_t start = 0;
    for (size_t j = 0; j < i; ++j) start += outs_[j];
    return weight.narrow(0, start, outs_[i]);
}

at::Tensor Linear::part_bias(size_t i) const {
    if (!bias.defined()) return {};
    int64_t start = 0;
    for (size_t j = 0; j < i; ++j) start += outs_[j];
    return bias.narrow(0, start, outs_[i]);
}

}  // namespace grpo
