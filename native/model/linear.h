// Linear layers: a frozen base, and what an adapter adds to it or puts in its place. Layers that
// read the same input (q, k, v; gate, up) keep their base weights in one matrix, so that one
// product serves them all; each part remains a named view of it, as the checkpoint knows it.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/fused_linear.h"
#include "model/linear_input.h"
#include "model/weight.h"

namespace grpo {

class Adapter;
struct LinearAdapter;
struct Lora;

/// The pairs of each linear layer as one (fused_linear.h), by its index.
using StackedPairsTable = std::vector<StackedPairs>;

/// What a forward pass needs to know besides its tokens. Dropout acts in the training forward only.
struct ForwardMode {
    const Adapter* adapter = nullptr;  // nullptr: the base model
    bool recompute = false;            // keep only the layers' inputs for the backward
    int64_t context_length = 0;  // of the longest sequence of the call, for length-dependent ropes
    double dropout = 0;
    std::optional<at::Generator> generator;      // of the dropout masks
    const StackedPairsTable* stacked = nullptr;  // of passes without gradient only
};

/// One checkpoint module, e.g. "model.layers.0.self_attn.q_proj".
struct LinearPart {
    std::string module;
    int64_t out = 0;
};

class Linear {
  public:
    Linear() = default;
    Linear(std::vector<LinearPart> parts, int64_t in, bool bias, const at::TensorOptions& options);

    /// -> [N, sum of out], the parts side by side, in the dtype of the input.
    at::Tensor forward(const LinearInput& input, const ForwardMode& mode) const;

    /// Undefined where there are none, or the layer is not one that fuses.
    StackedPairs stacked_pairs(const ForwardMode& mode, at::ScalarType dtype) const;

    int64_t in() const { return weight->in(); }
    const std::vector<LinearPart>& parts() const { return parts_; }
    std::shared_ptr<Weight> part_weight(size_t i) const;  // [out_i, in]
    at::Tensor part_bias(size_t i) const;                 // [out_i] view, undefined without bias
    /// The bias with those that the adapter trains in their places.
    at::Tensor bias_with(const LinearAdapter& adapter) const;

    std::shared_ptr<Weight> weight;  // [sum of out, in]
    at::Tensor bias;                 // [sum of out] or undefined
    int64_t index = 0;               // in the tables of an adapter

  private:
    /// Whether fused_linear() has everything that the adapter adds.
    bool can_fuse(const LinearAdapter* adapter) const;
    LinearTerms terms(const LinearAdapter* adapter) const;
    at::Tensor with_adapter(const LinearAdapter& adapter, const at::Tensor& x,
                            const ForwardMode& mode) const;
    at::Tensor with_pair(size_t part, const at::Tensor& x, const at::Tensor& y,
                         const at::Tensor& bias, const Lora& lora, const ForwardMode& mode) const;
    int64_t start_of(size_t i) const;
    at::Tensor of_part(const at::Tensor& rows, size_t i) const;

    std::vector<LinearPart> parts_;
    std::vector<int64_t> outs_;
};

}  // namespace grpo
