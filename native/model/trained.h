// A tensor that is trained as a whole. Where the model's dtype is narrower than fp32, passes use a
// copy in that dtype, so that rollout and training round alike; the gradient never passes through
// the narrow dtype.
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo {

struct Trained {
    at::Tensor master;  // leaf, fp32 or wider
    at::Tensor narrow;  // undefined where the master has the model's dtype

    bool defined() const { return master.defined(); }
    /// In the model's dtype; in grad mode differentiable by the master.
    at::Tensor value() const;
    /// In the model's dtype, without gradient.
    at::Tensor stored() const { return narrow.defined() ? narrow : master.detach(); }
    /// For a weight [out, in]: x [n, in], bias [out] or undefined -> x Wᵀ + b [n, out] in x's
    /// dtype. Differentiable by x, the master and the bias.
    at::Tensor linear(const at::Tensor& x, const at::Tensor& bias) const;
};

}  // namespace grpo
