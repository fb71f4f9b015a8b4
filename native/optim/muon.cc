// Muon (Jordan et al. 2024) as torch.optim.Muon computes it, for matrices [A, B] but those of the
// embedding and the output layer, which like vectors have AdamW:
//   b <- mu b + (1 - mu) g;  u = (1 - mu) g + mu b with Nesterov, else b
//   O = five Newton-Schulz steps from u / |u|, in bfloat16;  p <- p (1 - lr wd) - lr' O
//   lr' = lr sqrt(max(1, A / B)), or 0.2 lr sqrt(max(A, B)), whose steps are about as long as
//   AdamW's, so that one lr suits both (Liu et al. 2025)
#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>

#include "optim/optimizer.h"

namespace grpo {
namespace {

constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315, kSmallestNorm = 1e-7;

bool is_hidden_matrix(const Parameters& parameters, size_t i) {
    return parameters.slice(parameters.values, i).dim() == 2 && parameters.hidden(i);
}

/// x with its singular values pushed towards 1.
at::Tensor orthogonal(const at::Tensor& x, int64_t steps) {
    const bool tall = x.size(0) > x.size(1);
    at::Tensor y = x.to(at::kBFloat16);
    if (tall) y = y.t();
    y = y / y.norm().clamp_min(kSmallestNorm);
    for (int64_t i = 0; i < steps; ++i) {
        const at::Tensor gram = at::mm(y, y.t());
        y = at::addmm(y, at::addmm(gram, gram, gram, kB, kC), y, kA);
    }
    return tall ? y.t() : y;
}

class Muon : public Optimizer {
  public:
    explicit Muon(const Parameters& parameters) : first_(at::zeros_like(parameters.values)) {
        for (size_t i = 0; i < parameters.size(); ++i) {
            exp_avg_sq_.push_back(is_hidden_matrix(parameters, i)
                                      ? at::Tensor()
                                      : at::zeros_like(parameters.slice(parameters.values, i)));
        }
    }

    void step(Parameters& parameters, const OptimizerOptions& options) override {
        for (size_t i = 0; i < parameters.size(); ++i) {
            const GroupOptions group = of_group(options, parameters.group(i));
            const at::Tensor value = parameters.slice(parameters.values, i),
                             gradient = parameters.slice(parameters.gradient, i),
                             first = parameters.slice(first_, i);
            if (exp_avg_sq_[i].defined()) {
                adamw_update(value, gradient, first, exp_avg_sq_[i], options, group,
                             parameters.steps);
                continue;
            }
            first.lerp_(gradient, 1 - options.momentum);
            const at::Tensor update =
                options.nesterov ? gradient.lerp(first, options.momentum) : first;
            const at::Tensor direction = orthogonal(update, options.ns_steps);
            if (group.weight_decay != 0) value.mul_(1 - group.learning_rate * group.weight_decay);
            value.sub_(direction, group.learning_rate * rate_factor(value, options));
        }
    }

    std::vector<std::pair<std::string, at::Tensor>> memory(
        const Parameters& parameters) const override {
        std::vector<std::pair<std::string, at::Tensor>> list;
        for (size_t i = 0; i < parameters.size(); ++i) {
            const std::string& name = parameters.name(i);
            const bool adam = exp_avg_sq_[i].defined();
            list.emplace_back(name + (adam ? ".exp_avg" : ".momentum_buffer"),
                              parameters.slice(first_, i));
            if (adam) list.emplace_back(name + ".exp_avg_sq", exp_avg_sq_[i]);
        }
        return list;
    }

  private:
    static double rate_factor(const at::Tensor& value, const OptimizerOptions& options) {
        const auto rows = static_cast<double>(value.size(0)),
                   columns = static_cast<double>(value.size(1));
        if (options.adjust_lr_fn == AdjustLrFn::kMatchRmsAdamW)
            return 0.2 * std::sqrt(std::max(rows, columns));
        return std::sqrt(std::max(1.0, rows / columns));
    }

    at::Tensor first_;                    // [n] momentum, or AdamW's first moment
    std::vector<at::Tensor> exp_avg_sq_;  // beside the tensors; undefined for Muon's
};

}  // namespace

std::unique_ptr<Optimizer> make_muon(const Parameters& parameters) {
    return std::make_unique<Muon>(parameters);
}

}  // namespace grpo
