#include "model/rope.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "device.h"
#include "kernels/row_ops.h"

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

/// [x1, x2] -> [x1 cos - d x2 sin, x2 cos + d x1 sin]; direction d = 1, or -1 for the way back.
at::Tensor rotate(const at::Tensor& x, const RopeTable& table, double direction) {
    if (cpu::fits(x)) return cpu::rope(x, table.cos, table.sin, direction);
    const int64_t rotary = table.cos.size(-1), half = rotary / 2;
    const bool whole = rotary == x.size(-1);
    const at::Tensor y = whole ? x * table.cos : x.clone(at::MemoryFormat::Contiguous);
    if (!whole) y.narrow(-1, 0, rotary).mul_(table.cos);
    const auto first = [&](const at::Tensor& t) { return t.narrow(-1, 0, half); };
    const auto second = [&](const at::Tensor& t) { return t.narrow(-1, half, half); };
    first(y).addcmul_(second(x), first(table.sin), -direction);
    second(y).addcmul_(first(x), second(table.sin), direction);
    return y;
}

/// A rotation: its gradient is the rotation back, and nothing of x is kept.
class Rotate : public torch::autograd::Function<Rotate> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              const RopeTable& table) {
        context->save_for_backward({table.cos, table.sin});
        return rotate(x, table, 1);
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        const auto saved = context->get_saved_variables();
        return {rotate(gradients[0], {saved[0], saved[1]}, -1), {}};
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

RopeTable at_positions(const RopeTable& all, const at::Tensor& positions) {
    return {at::index(all.cos, {positions}), at::index(all.sin, {positions})};
}

at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table) {
    return c10::GradMode::is_enabled() ? Rotate::apply(x, table) : rotate(x, table, 1);
}

}  // namespace grpo
