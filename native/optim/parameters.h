// The trainable parameters of an adapter and all that belongs to them, each kind in one flat fp32
// buffer: clipping and AdamW are then a handful of operators however many layers there are. The
// named tensors are views into the buffers, so writing through either is seen by both; autograd
// accumulates straight into the flat gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace grpo {

struct Parameter {
    std::string name;
    at::Tensor value;  // leaf that requires grad, view into values
};

class Parameters {
  public:
    struct Spec {
        std::string name;
        std::vector<int64_t> shape;
    };

    Parameters() = default;
    /// Zero-filled parameters in the given order.
    Parameters(const std::vector<Spec>& specs, at::Device device);

    const std::vector<Parameter>& list() const { return list_; }
    bool empty() const { return list_.empty(); }
    at::Tensor find(const std::string& name) const;  // throws when absent
    /// View into `buffer` (values, exp_avg, ...) of parameter i, in its shape.
    at::Tensor slice(const at::Tensor& buffer, size_t i) const;
    void zero_grad();

    at::Tensor values;      // [n] fp32
    at::Tensor gradient;    // [n] fp32
    at::Tensor exp_avg;     // [n] fp32, AdamW first moment
    at::Tensor exp_avg_sq;  // [n] fp32, AdamW second moment
    int64_t steps = 0;      // optimizer steps taken

  private:
    std::vector<Parameter> list_;
    std::vector<int64_t> offsets_;
};

}  // namespace grpo
