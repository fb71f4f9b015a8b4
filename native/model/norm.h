// A norm of the decoder: the base's weight, or the one that an adapter trains in its place.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "model/base_model.h"
#include "model/forward_mode.h"
#include "model/linear_input.h"
#include "model/rms_norm.h"

namespace grpo {

inline NormParameters norm_parameters(const ModelConfig& config) {
    return {config.rms_norm_eps, config.norm_offset};
}

class Norm {
  public:
    /// Without a module, what is read goes through as it is.
    Norm(const BaseModel& base, const std::optional<NormModule>& module, NormParameters parameters);

    bool exists() const { return base_ != nullptr; }
    int64_t size() const { return base_->module.size; }
    /// [size], in the model's dtype; in grad mode differentiable by what is trained.
    at::Tensor weight(const ForwardMode& mode) const;

    /// x [.., size] as a linear layer reads it.
    LinearInput through(const at::Tensor& x, const ForwardMode& mode) const;
    at::Tensor apply(const at::Tensor& x, const ForwardMode& mode) const {
        return through(x, mode).value();
    }

  private:
    const BaseNorm* base_ = nullptr;
    NormParameters parameters_;
};

}  // namespace grpo
