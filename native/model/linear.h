// Linear layers with a frozen base and an optional LoRA pair (Hu et al. 2021):
//   y = x Wᵀ + b + s · dropout(x) Aᵀ Bᵀ,   s = alpha / r
// Layers that read the same input (q, k, v; gate, up) keep their base weights in one matrix, so
// that one product serves them all; each part remains a named view of it, as the checkpoint knows
// it.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

namespace grpo {

/// What a forward pass needs to know besides its tokens. Dropout acts in the training forward only.
struct ForwardMode {
    bool adapter = true;
    bool checkpoint = false;     // keep only the layers' inputs for the backward
    int64_t context_length = 0;  // of the longest sequence of the call, for length-dependent ropes
    double dropout = 0;
    std::optional<at::Generator> generator;  // of the dropout masks
};

struct Lora {
    at::Tensor a;  // [R, in] fp32
    at::Tensor b;  // [out, R] fp32
    double scaling = 1;
};

/// One checkpoint module, e.g. "model.layers.0.self_attn.q_proj".
struct LinearPart {
    std::string module;
    int64_t out = 0;
    std::optional<Lora> lora;
};

class Linear {
  public:
    Linear() = default;
    Linear(std::vector<LinearPart> parts, int64_t in, bool bias, const at::TensorOptions& options);

    /// x [N, in] -> one [N, out_i] per part, in x's dtype.
    std::vector<at::Tensor> forward(const at::Tensor& x, const ForwardMode& mode) const;
    /// The same for a layer of one part.
    at::Tensor forward_one(const at::Tensor& x, const ForwardMode& mode) const;

    int64_t in() const { return weight.size(1); }
    std::vector<LinearPart>& parts() { return parts_; }
    const std::vector<LinearPart>& parts() const { return parts_; }
    at::Tensor part_weight(size_t i) const;  // [out_i, in] view
    at::Tensor part_bias(size_t i) const;    // [out_i] view, undefined without bias

    at::Tensor weight;  // [sum of out, in]
    at::Tensor bias;    // [sum of out] or undefined

  private:
    std::vector<LinearPart> parts_;
    std::vector<int64_t> outs_;
};

}  // namespace grpo
