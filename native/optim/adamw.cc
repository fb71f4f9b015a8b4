// AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW computes it, t the number of the step:
//   p <- p (1 - lr wd);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
//   p <- p - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>

#include "device.h"
#include "engine_limits.h"
#include "optim/optimizer.h"

namespace grpo {
namespace {

class AdamW : public Optimizer {
  public:
    explicit AdamW(const Parameters& parameters)
        : exp_avg_(at::zeros_like(parameters.values)),
          exp_avg_sq_(at::zeros_like(parameters.values)) {}

    void step(Parameters& parameters, const OptimizerOptions& options) override {
        for (size_t index = 0; index < kParameterGroups; ++index) {
            const auto [start, size] = parameters.groups()[index];
            const GroupOptions group = of_group(options, static_cast<ParameterGroup>(index));
            // By pieces: the step's own memory is one of them, however large the model.
            for (int64_t from = start; from < start + size; from += kLimits.step_elements) {
                const int64_t n = std::min(kLimits.step_elements, start + size - from);
                const auto piece = [&](const at::Tensor& all) { return all.narrow(0, from, n); };
                adamw_update(piece(parameters.values), piece(parameters.gradient), piece(exp_avg_),
                             piece(exp_avg_sq_), options, group, parameters.steps);
            }
        }
    }

    std::vector<std::pair<std::string, at::Tensor>> memory(
        const Parameters& parameters) const override {
        std::vector<std::pair<std::string, at::Tensor>> list;
        for (size_t i = 0; i < parameters.size(); ++i) {
            list.emplace_back(parameters.name(i) + ".exp_avg", parameters.slice(exp_avg_, i));
            list.emplace_back(parameters.name(i) + ".exp_avg_sq", parameters.slice(exp_avg_sq_, i));
        }
        return list;
    }

  private:
    at::Tensor exp_avg_;     // [n] m
    at::Tensor exp_avg_sq_;  // [n] v
};

}  // namespace

void adamw_update(const at::Tensor& values, const at::Tensor& gradient, const at::Tensor& exp_avg,
                  const at::Tensor& exp_avg_sq, const OptimizerOptions& options,
                  const GroupOptions& group, int64_t t) {
    if (has_fused_kernels(values.device())) {
        const at::Tensor step = at::full({}, t, values.options().dtype(at::kFloat));
        return at::_fused_adamw_({values}, {gradient}, {exp_avg}, {exp_avg_sq}, {}, {step},
                                 group.learning_rate, options.beta1, options.beta2,
                                 group.weight_decay, options.epsilon, /*amsgrad=*/false,
                                 /*maximize=*/false);
    }
    const double correction1 = 1 - std::pow(options.beta1, t);
    const double correction2 = 1 - std::pow(options.beta2, t);
    exp_avg.lerp_(gradient, 1 - options.beta1);
    exp_avg_sq.mul_(options.beta2).addcmul_(gradient, gradient, 1 - options.beta2);
    if (group.weight_decay != 0) values.mul_(1 - group.learning_rate * group.weight_decay);
    const at::Tensor denominator =
        exp_avg_sq.sqrt().div_(std::sqrt(correction2)).add_(options.epsilon);
    values.addcdiv_(exp_avg, denominator, -group.learning_rate / correction1);
}

std::unique_ptr<Optimizer> make_adamw(const Parameters& parameters) {
    return std::make_unique<AdamW>(parameters);
}

}  // namespace grpo
