// x Wᵀ + b where x and W may differ in dtype. A processor without bf16
// arithmetic computes a bf16 model in fp32: the weights stay in bf16 and are widened piece by piece
// as they are used.
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo {

/// x [n, in], weight [out, in], bias [out] or undefined -> [n, out] in x's dtype. Differentiable
/// with respect to x.
at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// The same with a weight that is trained: `master` is the leaf, `narrow` its copy in the model's
/// dtype or undefined. Differentiable with respect to x, the master and the bias.
at::Tensor trained_linear(const at::Tensor& x, const at::Tensor& master, const at::Tensor& narrow,
                          const at::Tensor& bias);

/// x Wᵀ + b, and its gradient by x (dy W), without autograd.
at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
at::Tensor linear_product_backward(const at::Tensor& dy, const at::Tensor& weight);

/// The dtype of activations for weights of `dtype` on `device`.
at::ScalarType compute_dtype(at::ScalarType dtype, at::Device device);

}  // namespace grpo
