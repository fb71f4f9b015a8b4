#include "model/trained.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/product.h"
#include "model/weight.h"

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType saved_dtype(AutogradContext* context) {
    return static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
}

/// The narrow copy forwards, the master backwards.
class UseNarrow : public torch::autograd::Function<UseNarrow> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& master,
                              const at::Tensor& narrow) {
        context->saved_data["dtype"] = static_cast<int64_t>(master.scalar_type());
        return narrow.view_as(narrow);
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        return {gradients[0].to(saved_dtype(context)), {}};
    }
};

/// The product of the narrow copy; the weight's gradient goes to the master.
class NarrowProduct : public torch::autograd::Function<NarrowProduct> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& master, const at::Tensor& narrow) {
        context->save_for_backward({x, narrow});
        context->saved_data["dtype"] = static_cast<int64_t>(master.scalar_type());
        return dense_weight(narrow)->product(x, {});
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const at::Tensor &gradient = gradients[0], &x = saved[0], &narrow = saved[1];
        return {product(gradient, narrow), product(gradient.t(), x).to(saved_dtype(context)), {}};
    }
};

}  // namespace

at::Tensor Trained::value() const {
    if (!narrow.defined()) return master;
    return c10::GradMode::is_enabled() ? UseNarrow::apply(master, narrow) : narrow;
}

at::Tensor Trained::linear(const at::Tensor& x, const at::Tensor& bias) const {
    if (!narrow.defined()) return at::linear(x, master, bias);
    if (!c10::GradMode::is_enabled()) return dense_weight(narrow)->product(x, bias);
    const at::Tensor y = NarrowProduct::apply(x, master, narrow);
    return bias.defined() ? y + bias : y;
}

}  // namespace grpo
