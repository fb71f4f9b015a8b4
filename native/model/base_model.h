// The base model: every tensor that the checkpoint has, as the table of modules lists them. It
// allocates them, names them and says who shares memory; what is computed with them is in
// decoder.h. An adapter is laid out by the table and begins from these values.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "model/named_tensor.h"
#include "model/weight.h"
#include "model_spec.h"
#include "module_table.h"

namespace grpo {

struct BaseNorm {
    const NormModule& module;
    at::Tensor weight;  // [size]
};

struct BaseLinear {
    const LinearModule& module;
    std::shared_ptr<Weight> weight;  // [sum of out, in]
    at::Tensor bias;                 // [sum of out], undefined where the layer has none

    std::shared_ptr<Weight> part_weight(size_t i) const;  // [out_i, in]
    /// The rows of one part, out of those of all [sum of out]; undefined stays undefined.
    at::Tensor part_of(const at::Tensor& rows, size_t i) const;
};

class BaseModel {
  public:
    /// Allocates everything, uninitialised.
    BaseModel(const ModelConfig& config, at::ScalarType dtype, at::Device device);
    BaseModel(const BaseModel&) = delete;
    BaseModel& operator=(const BaseModel&) = delete;

    const ModuleTable& modules() const { return modules_; }
    const BaseNorm& norm(const NormModule& module) const { return norms.at(module.index); }
    const BaseLinear& linear(const LinearModule& module) const { return linears.at(module.index); }
    const BaseLinear& output() const { return linear(modules_.output); }
    /// Every tensor of the checkpoint; without the output layer's, where that is the embedding.
    std::vector<NamedTensor> named_tensors() const;
    at::ScalarType dtype() const { return embedding->dtype(); }
    at::Device device() const { return embedding->device(); }

    /// The output layer's weight is the embedding.
    bool tied() const { return tied_; }
    /// Gives the output layer a weight of its own, or takes it away again.
    void set_tied(bool tied);
    /// Copies of all, where they are shared with what trains them.
    void unshare();

    std::shared_ptr<Weight> embedding;  // [V, C]
    std::vector<BaseNorm> norms;        // by the numbers of their modules
    std::vector<BaseLinear> linears;

  private:
    ModuleTable modules_;
    bool tied_ = false;
};

}  // namespace grpo
