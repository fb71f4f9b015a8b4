#include "optim/parameters.h"

#include <ATen/Functions.h>

#include "error.h"

namespace grpo {

Parameters::Parameters(const std::vector<Spec>& specs, at::Device device) {
    offsets_.push_back(0);
    for (const Spec& spec : specs) {
        int64_t numel = 1;
        for (const int64_t size : spec.shape) numel *= size;
        offsets_.push_back(offsets_.back() + numel);
    }
    const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
    values = at::zeros({offsets_.back()}, options);
    gradient = at::zeros_like(values);
    exp_avg = at::zeros_like(values);
    exp_avg_sq = at::zeros_like(values);
    for (size_t i = 0; i < specs.size(); ++i) {
        // detach() makes a leaf that shares the storage of the flat buffer.
        at::Tensor leaf = values.narrow(0, offsets_[i], offsets_[i + 1] - offsets_[i])
                              .view(specs[i].shape)
                              .detach();
        leaf.set_requires_grad(true);
        leaf.mutable_grad() =
            gradient.narrow(0, offsets_[i], offsets_[i + 1] - offsets_[i]).view(specs[i].shape);
        list_.push_back({specs[i].name, leaf});
    }
}

at::Tensor Parameters::find(const std::string& name) const {
    for (const Parameter& parameter : list_) {
        if (parameter.name == name) return parameter.value;
    }
    throw EngineError("INTERNAL", "no parameter named " + name);
}

at::Tensor Parameters::slice(const at::Tensor& buffer, size_t i) const {
    return buffer.narrow(0, offsets_[i], offsets_[i + 1] - offsets_[i])
        .view(list_[i].value.sizes());
}

void Parameters::zero_grad() { gradient.zero_(); }

}  // namespace grpo
