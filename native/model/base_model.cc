#include "model/base_model.h"

#include <ATen/Functions.h>

namespace grpo {

std::shared_ptr<Weight> BaseLinear::part_weight(size_t i) const {
    return weight->part(module.start(i), module.parts[i].out);
}

at::Tensor BaseLinear::part_of(const at::Tensor& rows, size_t i) const {
    return rows.defined() ? rows.narrow(0, module.start(i), module.parts[i].out) : rows;
}

BaseModel::BaseModel(const ModelConfig& config, at::ScalarType dtype, at::Device device)
    : modules_(config.modules), tied_(config.tie_word_embeddings && config.num_labels == 0) {
    modules_.number();
    const auto options = at::TensorOptions().dtype(dtype).device(device);
    const auto empty = [&](std::vector<int64_t> shape) { return at::empty(shape, options); };
    embedding = new_weight({modules_.embedding.rows}, modules_.embedding.size, options);
    for (const NormModule* norm : modules_.norms()) norms.push_back({*norm, empty({norm->size})});
    for (const LinearModule* linear : modules_.linears()) {
        const bool is_embedding = tied_ && linear == &modules_.output;
        std::vector<int64_t> outs;
        for (const LinearPart& part : linear->parts) outs.push_back(part.out);
        linears.push_back(
            {.module = *linear,
             .weight = is_embedding ? embedding : new_weight(outs, linear->in, options),
             .bias = linear->bias ? empty({linear->out()}) : at::Tensor()});
    }
}

std::vector<NamedTensor> BaseModel::named_tensors() const {
    std::vector<NamedTensor> tensors{named_tensor(weight_name(modules_.embedding.name), embedding)};
    for (const BaseNorm& norm : norms)
        tensors.push_back(named_tensor(weight_name(norm.module.name), norm.weight));
    for (const BaseLinear& linear : linears) {
        if (tied_ && &linear == &output()) continue;
        for (size_t part = 0; part < linear.module.parts.size(); ++part) {
            const std::string& name = linear.module.parts[part].name;
            tensors.push_back(named_tensor(weight_name(name), linear.part_weight(part)));
            if (linear.bias.defined())
                tensors.push_back(named_tensor(bias_name(name), linear.part_of(linear.bias, part)));
        }
    }
    return tensors;
}

void BaseModel::set_tied(bool tied) {
    tied_ = tied;
    linears[modules_.output.index].weight = tied ? embedding : embedding->copy();
}

void BaseModel::unshare() {
    embedding = embedding->copy();
    for (BaseNorm& norm : norms) norm.weight = norm.weight.clone();
    for (BaseLinear& linear : linears) {
        linear.weight = tied_ && &linear == &output() ? embedding : linear.weight->copy();
        if (linear.bias.defined()) linear.bias = linear.bias.clone();
    }
}

}  // namespace grpo
