#include "model/rope.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "cpu/fused_ops.h"
#include "device.h"

namespace grpo {
namespace {

/// NTK-aware growth of the base with the sequence, in float32 steps as transformers takes them.
std::vector<float> dynamic_frequencies(const RopeConfig& config, int64_t sequence_length) {
    const auto dim = static_cast<double>(2 * config.inv_freq.size());
    const double ratio = config.dynamic_factor * static_cast<double>(sequence_length) /
                         static_cast<double>(config.dynamic_length);
    const double base =
        config.theta * std::pow(ratio - (config.dynamic_factor - 1), dim / (dim - 2));
    std::vector<float> frequencies;
    for (size_t i = 0; i < config.inv_freq.size(); ++i) {
        const auto exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
        frequencies.push_back(1.0F / std::pow(static_cast<float>(base), exponent));
    }
    return frequencies;
}

/// A rotation: its gradient is the rotation back, and nothing of x is kept.
class Rotate : public torch::autograd::Function<Rotate> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              const RopeTable& table) {
        context->save_for_backward({table.cos, table.sin});
        return cpu::rope(x, table.cos, table.sin, 1);
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        const auto saved = context->get_saved_variables();
        return {cpu::rope(gradients[0], saved[0], saved[1], -1), {}};
    }
};

}  // namespace

RopeTable make_rope_table(const RopeConfig& config, const at::Tensor& positions,
                          int64_t sequence_length, at::ScalarType dtype) {
    const bool use_long = config.switch_length > 0 && sequence_length > config.switch_length;
    const bool grow = config.dynamic_length > 0 && sequence_length > config.dynamic_length;
    const double scaling = use_long ? config.long_scaling : config.scaling;
    const at::Tensor frequencies = to_device(grow ? dynamic_frequencies(config, sequence_length)
                                             : use_long ? config.long_inv_freq
                                                        : config.inv_freq,
                                             positions.device());
    const at::Tensor half =
        positions.to(frequencies.scalar_type()).unsqueeze(1) * frequencies;  // [N, D_rot / 2]
    const at::Tensor angles = at::cat({half, half}, -1).unsqueeze(1);        // [N, 1, D_rot]
    // The factor is 1 for all but a few scaling variants.
    if (scaling == 1) return {angles.cos().to(dtype), angles.sin().to(dtype)};
    return {(angles.cos() * scaling).to(dtype), (angles.sin() * scaling).to(dtype)};
}

at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table) {
    if (cpu::fits(x)) {
        return c10::GradMode::is_enabled() ? Rotate::apply(x, table)
                                           : cpu::rope(x, table.cos, table.sin, 1);
    }
    const int64_t rotary = table.cos.size(-1), half = rotary / 2, rest = x.size(-1) - rotary;
    const at::Tensor turned = rest == 0 ? x : x.narrow(-1, 0, rotary);
    const at::Tensor rotated =
        at::cat({turned.narrow(-1, half, half).neg(), turned.narrow(-1, 0, half)}, -1);
    const at::Tensor result = turned * table.cos + rotated * table.sin;
    return rest == 0 ? result : at::cat({result, x.narrow(-1, rotary, rest)}, -1);
}

}  // namespace grpo
