// x Wᵀ + b with a frozen weight, where x and W may differ in dtype. A processor without bf16
// arithmetic computes a bf16 model in fp32: the weights stay in bf16 and are widened piece by piece
// as they are used.
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo {

/// x [n, in], weight [out, in], bias [out] or undefined -> [n, out] in x's dtype. Differentiable
/// with respect to x.
at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Its derivative with respect to x, outside autograd: gradient [n, out] -> [n, in].
at::Tensor frozen_linear_backward(const at::Tensor& gradient, const at::Tensor& weight);

/// The dtype of activations for weights of `dtype` on `device`.
at::ScalarType compute_dtype(at::ScalarType dtype, at::Device device);

}  // namespace grpo
