// Products of matrices without autograd, for layers that have their gradients by hand: in fp32 on a
// CPU by the kernels of kernels/gemm.h, which round what meets a bf16 b; else by ATen.
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo {

/// Whether the kernels multiply what has the dtype and device of `a`.
bool has_gemm(const at::Tensor& a);

/// a [m, k], b [k, n], with any strides -> a b [m, n] in a's dtype. b may be narrower.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

/// c = scale · a b.
void product_into(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale = 1);

/// c += scale · a b.
void add_product(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale = 1);

}  // namespace grpo
