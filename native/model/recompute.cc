#include "model/recompute.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the second run needs.
struct Replay : torch::CustomClassHolder {
    Block block;
    std::optional<at::Generator> generator;
    at::Tensor generator_state;
};

class Recomputed : public torch::autograd::Function<Recomputed> {
  public:
    /// `anchor` requires a gradient, so that the output does, although parameters are no inputs.
    static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                              const at::Tensor& /*anchor*/,
                              const c10::intrusive_ptr<Replay>& replay) {
        if (replay->generator) replay->generator_state = replay->generator->get_state();
        context->save_for_backward({input});
        context->saved_data["needs"] = input.requires_grad();
        context->saved_data["replay"] = c10::IValue::make_capsule(replay);
        return replay->block(input);
    }

    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto capsule = context->saved_data["replay"].toCapsule();
        const auto* replay = static_cast<const Replay*>(capsule.get());
        const at::AutoGradMode with_grad(true);
        at::Tensor input = context->get_saved_variables()[0].detach();
        input.set_requires_grad(context->saved_data["needs"].toBool());
        if (replay->generator) {
            at::Generator generator = *replay->generator;
            generator.set_state(replay->generator_state);
        }
        const at::Tensor output = replay->block(input);
        if (output.requires_grad()) torch::autograd::backward({output}, {gradients[0]});
        return {input.grad(), {}, {}};
    }
};

}  // namespace

at::Tensor recomputed(const at::Tensor& input, Block block,
                      const std::optional<at::Generator>& generator) {
    auto replay = c10::make_intrusive<Replay>();
    replay->block = std::move(block);
    replay->generator = generator;
    const at::Tensor anchor = at::empty({0}, input.options()).set_requires_grad(true);
    return Recomputed::apply(input, anchor, replay);
}

}  // namespace grpo
