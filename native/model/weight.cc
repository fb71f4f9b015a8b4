#include "model/weight.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Held : torch::CustomClassHolder {
    explicit Held(std::shared_ptr<const Weight> held) : weight(std::move(held)) {}
    std::shared_ptr<const Weight> weight;
};

/// Keeps the weight in the form that it has: autograd of matmul would keep every layer's widened
/// copy until the backward.
class FrozenProduct : public torch::autograd::Function<FrozenProduct> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const c10::intrusive_ptr<Held>& held) {
        context->saved_data["held"] = c10::IValue::make_capsule(held);
        return held->weight->product(x, {});
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto capsule = context->saved_data["held"].toCapsule();
        return {static_cast<const Held*>(capsule.get())->weight->product_backward(gradients[0]),
                {}};
    }
};

}  // namespace

at::Tensor Weight::linear(const at::Tensor& x, const at::Tensor& bias) const {
    if (!c10::GradMode::is_enabled()) return product(x, bias);
    const at::Tensor y = FrozenProduct::apply(x, c10::make_intrusive<Held>(shared_from_this()));
    return bias.defined() ? y + bias : y;
}

}  // namespace grpo
