#include "model/frozen_linear.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "cpu/instruction_set.h"
#include "cpu/linear.h"
#include "model/product.h"

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor with_bias(const at::Tensor& y, const at::Tensor& bias) {
    return bias.defined() ? y + bias : y;
}

/// Whether to multiply through product.h: ATen's linear wants one dtype, and is slower in fp32.
bool by_product(const at::Tensor& x, const at::Tensor& weight) {
    return x.dim() == 2 && (x.scalar_type() != weight.scalar_type() || has_gemm(x));
}

/// Saves the weight as it is stored: autograd of matmul would keep every layer's widened copy until
/// the backward.
class FrozenProduct : public torch::autograd::Function<FrozenProduct> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& weight) {
        context->save_for_backward({weight});
        return linear_product(x, weight, {});
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        return {product(gradients[0], context->get_saved_variables()[0]), {}};
    }
};

/// The product of the narrow copy; the weight's gradient goes to the master without passing through
/// the narrow dtype.
class NarrowTrained : public torch::autograd::Function<NarrowTrained> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& master, const at::Tensor& narrow) {
        context->save_for_backward({x, narrow});
        context->saved_data["dtype"] = static_cast<int64_t>(master.scalar_type());
        return frozen_linear(x, narrow, {});
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &gradient = gradients[0], &x = saved[0], &narrow = saved[1];
        const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
        return {product(gradient, narrow), product(gradient.t(), x).to(dtype), {}};
    }
};

}  // namespace

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    const c10::NoGradGuard no_grad;
    if (!by_product(x, weight)) return at::linear(x, weight, bias);
    if (cpu::can_skinny_linear(x, weight)) return with_bias(cpu::skinny_linear(x, weight), bias);
    at::Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
    if (bias.defined())
        add_product(y.copy_(bias.expand_as(y)), x, weight.t());
    else
        product_into(y, x, weight.t());
    return y;
}

at::Tensor linear_product_backward(const at::Tensor& dy, const at::Tensor& weight) {
    return product(dy, weight);
}

at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    if (!by_product(x, weight)) return at::linear(x, weight, bias);
    return c10::GradMode::is_enabled() ? with_bias(FrozenProduct::apply(x, weight), bias)
                                       : linear_product(x, weight, bias);
}

at::Tensor trained_linear(const at::Tensor& x, const at::Tensor& master, const at::Tensor& narrow,
                          const at::Tensor& bias) {
    if (!narrow.defined()) return at::linear(x, master, bias);
    if (!c10::GradMode::is_enabled()) return frozen_linear(x, narrow, bias);
    return with_bias(NarrowTrained::apply(x, master, narrow), bias);
}

at::ScalarType compute_dtype(at::ScalarType dtype, at::Device device) {
    const bool narrow = dtype == at::kBFloat16 || dtype == at::kHalf;
    if (!narrow || !device.is_cpu()) return dtype;
    // fp16 has no fast products in ATen on any CPU.
    const bool has_bf16 = cpu::instruction_set() == cpu::InstructionSet::kAvx512Bf16;
    return dtype == at::kBFloat16 && has_bf16 ? dtype : at::kFloat;
}

}  // namespace grpo
