// Adafactor (Shazeer & Stern 2018) as transformers' trainer sets it up: the learning rate is given,
// not relative, and there is no first moment. The second moment of a matrix is kept as the means of
// its rows and columns, r and c; b = 1 - t^-0.8:
//   u = g^2 + 1e-30;  r <- b r + (1 - b) mean of rows(u);  c <- b c + (1 - b) mean of columns(u)
//   u = g / sqrt(r cᵀ / mean(r));  u <- u / max(1, rms(u));  p <- p (1 - lr wd) - lr u
// A vector keeps its whole second moment v, and u = g / sqrt(v).
#include <ATen/Functions.h>

#include <cmath>

#include "optim/optimizer.h"

namespace grpo {
namespace {

constexpr double kDecayRate = -0.8, kEpsilon = 1e-30, kClipThreshold = 1;

class Adafactor : public Optimizer {
  public:
    explicit Adafactor(const Parameters& parameters) {
        for (size_t i = 0; i < parameters.size(); ++i) {
            const at::Tensor value = parameters.slice(parameters.values, i);
            if (value.dim() < 2) {
                moments_.push_back({.rows = {}, .columns = {}, .whole = at::zeros_like(value)});
            } else {
                moments_.push_back({.rows = at::zeros({value.size(0)}, value.options()),
                                    .columns = at::zeros({value.size(1)}, value.options()),
                                    .whole = {}});
            }
        }
    }

    void step(Parameters& parameters, const OptimizerOptions& options) override {
        const double beta = 1 - std::pow(static_cast<double>(parameters.steps), kDecayRate);
        for (size_t i = 0; i < parameters.size(); ++i) {
            const GroupOptions group = of_group(options, parameters.group(i));
            const at::Tensor value = parameters.slice(parameters.values, i);
            const at::Tensor gradient = parameters.slice(parameters.gradient, i);
            const at::Tensor update = direction(moments_[i], gradient, beta);
            const double root = std::sqrt(static_cast<double>(update.numel()));
            update.div_((norm_of(update) / root / kClipThreshold).clamp_min_(1));
            if (group.weight_decay != 0) value.mul_(1 - group.weight_decay * group.learning_rate);
            value.sub_(update, group.learning_rate);
        }
    }

    std::vector<std::pair<std::string, at::Tensor>> memory(
        const Parameters& parameters) const override {
        std::vector<std::pair<std::string, at::Tensor>> list;
        for (size_t i = 0; i < parameters.size(); ++i) {
            const std::string& name = parameters.name(i);
            if (moments_[i].whole.defined()) {
                list.emplace_back(name + ".exp_avg_sq", moments_[i].whole);
            } else {
                list.emplace_back(name + ".exp_avg_sq_row", moments_[i].rows);
                list.emplace_back(name + ".exp_avg_sq_col", moments_[i].columns);
            }
        }
        return list;
    }

  private:
    struct Moments {
        at::Tensor rows;     // [out] r
        at::Tensor columns;  // [in] c
        at::Tensor whole;    // v of a vector
    };

    static at::Tensor direction(const Moments& moments, const at::Tensor& gradient, double beta) {
        const at::Tensor square = gradient.square().add_(kEpsilon);
        if (moments.whole.defined()) {
            moments.whole.mul_(beta).add_(square, 1 - beta);
            return moments.whole.rsqrt().mul_(gradient);
        }
        moments.rows.mul_(beta).add_(square.mean(-1), 1 - beta);
        moments.columns.mul_(beta).add_(square.mean(-2), 1 - beta);
        const at::Tensor by_row = (moments.rows / moments.rows.mean()).rsqrt_().unsqueeze(-1);
        return at::mul(by_row, moments.columns.rsqrt().unsqueeze(-2)).mul_(gradient);
    }

    std::vector<Moments> moments_;  // beside the parameters' tensors
};

}  // namespace

std::unique_ptr<Optimizer> make_adafactor(const Parameters& parameters) {
    return std::make_unique<Adafactor>(parameters);
}

}  // namespace grpo
