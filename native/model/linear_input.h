// What a linear layer reads: a tensor, or what a norm or a gated activation makes of one. Given in
// this form, the layer keeps only x for the backward and computes the rest again, which costs next
// to nothing beside the product.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "model/rms_norm.h"
#include "model_spec.h"

namespace grpo {

struct LinearInput {
    at::Tensor x;                 // [N, in], or [N, 2 · in] where gated
    at::Tensor norm_weight = {};  // defined: the layer reads rms_norm(x)
    NormParameters norm = {};
    std::optional<Activation> activation = {};  // set: the layer reads gated(x)

    /// Differentiable.
    at::Tensor value() const;
};

}  // namespace grpo
