#include "model/frozen_linear.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "cpu/linear.h"

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of a weight at a time: 16 MiB in fp32, which a processor's last cache holds between the widening
// and the product, and which is still many columns.
constexpr int64_t kWidenedElements = int64_t{4} << 20;

/// Calls `use(start, rows of the weight in dtype)` slice by slice.
template <typename F>
void for_each_slice(const at::Tensor& weight, at::ScalarType dtype, F use) {
    const int64_t out = weight.size(0);
    const int64_t step =
        std::clamp<int64_t>(kWidenedElements / weight.size(1), 1, std::max<int64_t>(out, 1));
    const at::Tensor wide = at::empty({step, weight.size(1)}, weight.options().dtype(dtype));
    for (int64_t start = 0; start < out; start += step) {
        const int64_t n = std::min(step, out - start);
        use(start, wide.narrow(0, 0, n).copy_(weight.narrow(0, start, n)));
    }
}

at::Tensor widened_product(const at::Tensor& x, const at::Tensor& weight) {
    if (cpu::can_skinny_linear(x, weight)) return cpu::skinny_linear(x, weight);
    at::Tensor y = at::empty({x.size(0), weight.size(0)}, x.options());
    for_each_slice(weight, x.scalar_type(), [&](int64_t start, const at::Tensor& wide) {
        at::Tensor columns = y.narrow(1, start, wide.size(0));
        at::mm_out(columns, x, wide.t());
    });
    return y;
}

at::Tensor widened_backward(const at::Tensor& gradient, const at::Tensor& weight) {
    at::Tensor sum = at::empty({gradient.size(0), weight.size(1)}, gradient.options());
    for_each_slice(weight, gradient.scalar_type(), [&](int64_t start, const at::Tensor& wide) {
        sum.addmm_(gradient.narrow(1, start, wide.size(0)), wide, start == 0 ? 0 : 1);
    });
    return sum;
}

/// Saves the weight as it is stored: autograd of matmul would keep every layer's widened copy until
/// the backward.
class WidenedLinear : public torch::autograd::Function<WidenedLinear> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& weight) {
        context->save_for_backward({weight});
        return widened_product(x, weight);
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        return {widened_backward(gradients[0], context->get_saved_variables()[0]), {}};
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
        const at::Tensor by_x = gradient.scalar_type() == narrow.scalar_type()
                                    ? at::matmul(gradient, narrow)
                                    : widened_backward(gradient, narrow);
        return {by_x, at::matmul(gradient.t(), x).to(dtype), {}};
    }
};

at::Tensor with_bias(const at::Tensor& y, const at::Tensor& bias) {
    return bias.defined() ? y + bias : y;
}

}  // namespace

at::Tensor linear_product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    const c10::NoGradGuard no_grad;
    if (x.scalar_type() == weight.scalar_type()) return at::linear(x, weight, bias);
    at::Tensor y = widened_product(x, weight);
    return bias.defined() ? y.add_(bias) : y;
}

at::Tensor linear_product_backward(const at::Tensor& dy, const at::Tensor& weight) {
    const c10::NoGradGuard no_grad;
    return dy.scalar_type() == weight.scalar_type() ? at::mm(dy, weight)
                                                    : widened_backward(dy, weight);
}

at::Tensor frozen_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    if (x.scalar_type() == weight.scalar_type()) return at::linear(x, weight, bias);
    return with_bias(
        c10::GradMode::is_enabled() ? WidenedLinear::apply(x, weight) : widened_product(x, weight),
        bias);
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
#if defined(__x86_64__)
    if (dtype == at::kBFloat16 && __builtin_cpu_supports("avx512bf16")) return dtype;
#endif
    return at::kFloat;
}

}  // namespace grpo
