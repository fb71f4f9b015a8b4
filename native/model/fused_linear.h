// A linear layer with all that an adapter most often has, in one node of autograd with a backward
// of its own:
//   y = p Wᵀ + b + Σ s_i (p_i A_iᵀ) B_iᵀ        p: the layer's input, see linear_input.h
//   dp = dy W + Σ m_i s_i (dy_i B_i) A_i,   dA_i = s_i (dy_i B_i)ᵀ p_i,   dB_i = s_i dy_iᵀ (p_i
//   A_iᵀ)
// where pair i adds to its own columns y_i and reads p_i = m_i p: all of p, or what its dropout
// mask keeps of it. What is kept is x, p_i A_iᵀ and the masks; without masks the pairs of a layer
// share two products.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "model/linear_input.h"
#include "model/weight.h"

namespace grpo {

struct LowRankPair {
    at::Tensor a;  // [R, in] leaf
    at::Tensor b;  // [columns, R] leaf
    double scaling = 1;
    int64_t start = 0;     // of its columns in y
    at::Tensor mask = {};  // [N, in] bool, what dropout keeps, or undefined: all
};

/// All pairs of a layer as one, for passes without gradient: two products however many there are.
struct StackedPairs {
    at::Tensor a_t;  // [in, ΣR]
    at::Tensor b_t;  // [ΣR, out], zero outside the columns of each pair
    double scaling = 1;
};

struct LinearTerms {
    std::shared_ptr<const Weight> weight;  // [out, in] as it is used, without gradient
    at::Tensor master;                     // the leaf that it is a copy of, where it is trained
    at::Tensor bias;                       // [out] or undefined
    std::vector<LowRankPair> pairs;
    StackedPairs stacked = {};  // the same pairs, or undefined
    at::Tensor residual = {};   // [N, out] that y is added to, or undefined; on accelerators
};

/// Undefined where there are no pairs or their scalings differ.
StackedPairs stack_pairs(const LinearTerms& terms, at::ScalarType dtype);

/// [N, out] in the dtype of x. Differentiable by x, the norm's weight, the master, the bias, the
/// pairs and the residual, which in inference mode is overwritten.
at::Tensor fused_linear(const LinearInput& input, const LinearTerms& terms);

}  // namespace grpo
