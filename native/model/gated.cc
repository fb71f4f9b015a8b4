#include "model/gated.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "kernels/row_ops.h"

namespace grpo {
namespace {

at::Tensor activate(const at::Tensor& gate, Activation activation) {
    return activation == Activation::kSilu ? at::silu(gate) : at::gelu(gate, "tanh");
}

at::Tensor activate_backward(const at::Tensor& dy, const at::Tensor& gate, Activation activation) {
    return activation == Activation::kSilu ? at::silu_backward(dy, gate)
                                           : at::gelu_backward(dy, gate, "tanh");
}

}  // namespace

at::Tensor gated(const at::Tensor& gate_up, Activation activation) {
    const auto halves = at::chunk(gate_up, 2, -1);
    return activate(halves[0], activation) * halves[1];
}

at::Tensor gated_forward(const at::Tensor& gate_up, Activation activation) {
    const c10::NoGradGuard no_grad;
    return cpu::fits(gate_up) ? cpu::gated(gate_up, activation == Activation::kGeluTanh)
                              : gated(gate_up, activation);
}

at::Tensor gated_backward(const at::Tensor& dy, const at::Tensor& gate_up, Activation activation) {
    const c10::NoGradGuard no_grad;
    if (cpu::fits(gate_up))
        return cpu::gated_backward(dy, gate_up, activation == Activation::kGeluTanh);
    const auto halves = at::chunk(gate_up, 2, -1);
    return at::cat({activate_backward(dy * halves[1], halves[0], activation),
                    dy * activate(halves[0], activation)},
                   -1);
}

}  // namespace grpo
