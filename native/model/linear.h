// Linear layers: a frozen base, and what an adapter adds to it or puts in its place. Layers that
// read the same input (q, k, v; gate, up) are parts of one, so that one product serves them all.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "model/base_model.h"
#include "model/forward_mode.h"
#include "model/fused_linear.h"
#include "model/linear_input.h"

namespace grpo {

struct LinearAdapter;
struct Lora;

class Linear {
  public:
    Linear(const BaseModel& base, const LinearModule& module) : base_(&base.linear(module)) {}

    /// -> [N, sum of out], the parts side by side, in the dtype of the input. `residual`: what they
    /// are added to, of the same shape, on an accelerator; in inference mode it may be overwritten.
    at::Tensor forward(const LinearInput& input, const ForwardMode& mode,
                       const at::Tensor& residual = {}) const;

    /// Undefined where there are none, or the layer is not one that fuses.
    StackedPairs stacked_pairs(const ForwardMode& mode, at::ScalarType dtype) const;

    const BaseLinear& base() const { return *base_; }
    /// nullptr: the base alone.
    const LinearAdapter* adapter(const ForwardMode& mode) const;
    /// The bias with those that the adapter trains in their places.
    at::Tensor bias_with(const LinearAdapter& adapter) const;

  private:
    /// Whether fused_linear() has everything that the adapter adds.
    bool can_fuse(const LinearAdapter* adapter) const;
    LinearTerms terms(const LinearAdapter* adapter) const;
    at::Tensor with_adapter(const LinearAdapter& adapter, const at::Tensor& x,
                            const ForwardMode& mode) const;
    at::Tensor with_pair(size_t part, const at::Tensor& x, const at::Tensor& y,
                         const at::Tensor& bias, const Lora& lora, const ForwardMode& mode) const;

    const BaseLinear* base_;
};

}  // namespace grpo
