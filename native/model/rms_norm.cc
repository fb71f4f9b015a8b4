#include "model/rms_norm.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "device.h"
#include "kernels/row_ops.h"

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor widened(const at::Tensor& x) {
    return x.to(at::promote_types(x.scalar_type(), at::kFloat));
}

Normed plain_forward(const at::Tensor& x, const at::Tensor& weight, NormParameters parameters) {
    if (parameters.offset == 0) {
        // One kernel on CUDA, a handful of operators elsewhere.
        const auto [y, scale] = at::_fused_rms_norm(x, {x.size(-1)}, weight, parameters.eps);
        return {y, scale};
    }
    const at::Tensor wide = widened(x);
    const at::Tensor scale = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + parameters.eps);
    const at::Tensor factor = weight.to(wide.scalar_type()) + parameters.offset;
    return {(wide * scale * factor).to(x.scalar_type()), scale};
}

NormGradient plain_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& scale, NormParameters parameters, bool need_weight) {
    if (parameters.offset == 0 && has_fused_kernels(x.device())) {
        auto [dx, dweight] =
            at::_fused_rms_norm_backward(dy, x, {x.size(-1)}, scale, weight, {true, need_weight});
        return {dx, need_weight ? dweight : at::Tensor()};
    }
    const at::Tensor wide = widened(dy), normed = widened(x) * scale;
    const at::Tensor g = wide * (widened(weight) + parameters.offset);
    const at::Tensor dx = (g - normed * (g * normed).mean(-1, /*keepdim=*/true)) * scale;
    NormGradient result{dx.to(x.scalar_type()), {}};
    if (need_weight)
        result.weight = (wide * normed).view({-1, x.size(-1)}).sum(0).to(weight.scalar_type());
    return result;
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& weight, NormParameters parameters) {
        const Normed normed = rms_norm_forward(x, weight, parameters);
        context->save_for_backward({x, weight, normed.scale});
        context->saved_data["eps"] = parameters.eps;
        context->saved_data["offset"] = parameters.offset;
        context->saved_data["need_weight"] = weight.requires_grad();
        return normed.y;
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto saved = context->get_saved_variables();
        const NormParameters parameters{context->saved_data["eps"].toDouble(),
                                        context->saved_data["offset"].toDouble()};
        const NormGradient gradient =
            rms_norm_backward(gradients[0], saved[0], saved[1], saved[2], parameters,
                              context->saved_data["need_weight"].toBool());
        return {gradient.x, gradient.weight, {}};
    }
};

}  // namespace

Normed rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, NormParameters parameters) {
    if (!cpu::fits(x)) return plain_forward(x, weight, parameters);
    const cpu::NormedRows rows = cpu::rms_norm(x, weight, parameters.eps, parameters.offset);
    return {rows.y, rows.scale};
}

NormGradient rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& scale, NormParameters parameters,
                               bool need_weight) {
    if (!cpu::fits(x)) return plain_backward(dy, x, weight, scale, parameters, need_weight);
    at::Tensor dweight;
    if (need_weight) dweight = at::zeros({x.size(-1)}, x.options());
    const at::Tensor dx = cpu::rms_norm_backward(dy, x, weight, scale, parameters.offset, dweight);
    return {dx, need_weight ? dweight.to(weight.scalar_type()) : dweight};
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, NormParameters parameters) {
    if (x.scalar_type() == at::kDouble) return plain_forward(x, weight, parameters).y;
    if (!c10::GradMode::is_enabled()) return rms_norm_forward(x, weight, parameters).y;
    return RmsNorm::apply(x, weight, parameters);
}

}  // namespace grpo
