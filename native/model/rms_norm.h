// RMSNorm (Zhang & Sennrich 2019) and its backward, with a differentiable whole made of them that
// keeps its input and one number a row.
//   y = x̂ (w + offset),   x̂ = s x,   s = 1 / sqrt(mean(x²) + eps)
//   dx = s (g - x̂ mean(g x̂)),   dw = Σ dy x̂,   with g = dy (w + offset)
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo {

struct NormParameters {
    double eps = 0;
    double offset = 0;  // not 0: multiply before rounding, as Gemma has it
};

struct Normed {
    at::Tensor y;      // [.., C]
    at::Tensor scale;  // [.., 1] s, in fp32 or wider
};
/// x [.., C], weight [C]; x̂ in fp32, rounded to x's dtype, times weight. Without gradient.
Normed rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, NormParameters parameters);

struct NormGradient {
    at::Tensor x;
    at::Tensor weight;  // undefined unless asked for
};
NormGradient rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& scale, NormParameters parameters,
                               bool need_weight);

/// Differentiable by x and weight. In float64 by autograd, step by step.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, NormParameters parameters);

}  // namespace grpo
