#include "optim/parameters.h"

#include <ATen/Functions.h>

namespace grpo {
namespace {

int64_t product(const std::vector<int64_t>& shape) {
    int64_t numel = 1;
    for (const int64_t size : shape) numel *= size;
    return numel;
}

}  // namespace

Parameters::Parameters(std::vector<Spec> specs, at::ScalarType dtype, at::Device device) {
    std::stable_sort(specs.begin(), specs.end(),
                     [](const Spec& a, const Spec& b) { return a.group < b.group; });
    int64_t end = 0;
    for (const Spec& spec : specs) {
        ParameterRange& range = groups_[static_cast<size_t>(spec.group)];
        if (range.size == 0) range.start = end;
        for (const Named& tensor : spec.tensors) {
            by_name_[tensor.name] = named_.size();
            named_.push_back({tensor.name, tensor.shape, end, leaves_.size()});
            end += product(tensor.shape);
        }
        range.size = end - range.start;
        leaves_.push_back({.value = {}, .start = 0, .group = spec.group, .hidden = spec.hidden});
    }
    values = at::zeros({end}, at::TensorOptions().dtype(dtype).device(device));
    for (size_t i = 0; i < named_.size();) {
        Leaf& leaf = leaves_[named_[i].leaf];
        leaf.start = named_[i].start;
        std::vector<int64_t> shape = named_[i].shape;
        for (++i; i < named_.size() && &leaves_[named_[i].leaf] == &leaf; ++i) {
            shape[0] += named_[i].shape[0];
        }
        // detach() makes a leaf that shares the storage of the flat buffer.
        leaf.value = values.narrow(0, leaf.start, product(shape)).view(shape).detach();
        leaf.value.set_requires_grad(true);
    }
}

at::Tensor Parameters::slice(const at::Tensor& buffer, size_t i) const {
    return buffer.narrow(0, named_[i].start, product(named_[i].shape)).view(named_[i].shape);
}

at::Tensor Parameters::find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? at::Tensor() : leaves_[named_[found->second].leaf].value;
}

void Parameters::write(const std::string& name, const at::Tensor& tensor) {
    const auto found = by_name_.find(name);
    if (found != by_name_.end()) slice(values, found->second).copy_(tensor);
}

void Parameters::need_gradient() {
    if (gradient.defined()) return;
    gradient = at::zeros_like(values);
    for (Leaf& leaf : leaves_) {
        leaf.value.mutable_grad() =
            gradient.narrow(0, leaf.start, leaf.value.numel()).view(leaf.value.sizes());
    }
}

void Parameters::zero_grad() {
    if (gradient.defined()) gradient.zero_();
}

}  // namespace grpo
