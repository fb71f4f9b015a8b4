// The gated activation of the MLP, act(gate) · up, and its backward. Gate and up lie side by side
// in one matrix, as the product that made them leaves them.
#pragma once

#include <ATen/core/Tensor.h>

#include "model_spec.h"

namespace grpo {

/// gate_up [N, 2F] -> [N, F]. Differentiable by autograd, step by step.
at::Tensor gated(const at::Tensor& gate_up, Activation activation);

/// The same without gradient, and the gradient by gate_up: [N, 2F].
at::Tensor gated_forward(const at::Tensor& gate_up, Activation activation);
at::Tensor gated_backward(const at::Tensor& dy, const at::Tensor& gate_up, Activation activation);

}  // namespace grpo
