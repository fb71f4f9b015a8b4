// Stochastic gradient descent as torch.optim.SGD computes it, b the momentum's buffer:
//   g <- g + wd p
//   b <- g in the first step, then mu b + (1 - dampening) g
//   p <- p - lr b, with Nesterov's p <- p - lr (g + mu b), without momentum p <- p - lr g
#include <ATen/Functions.h>

#include "optim/optimizer.h"

namespace grpo {
namespace {

class Sgd : public Optimizer {
  public:
    /// `buffer`: the momentum's; undefined without one.
    explicit Sgd(at::Tensor buffer) : buffer_(std::move(buffer)) {}

    void step(Parameters& parameters, const OptimizerOptions& options) override {
        for (size_t index = 0; index < kParameterGroups; ++index) {
            const auto [start, size] = parameters.groups()[index];
            if (size == 0) continue;
            const GroupOptions group = of_group(options, static_cast<ParameterGroup>(index));
            const at::Tensor values = parameters.values.narrow(0, start, size);
            const at::Tensor gradient = parameters.gradient.narrow(0, start, size);
            if (group.weight_decay != 0) gradient.add_(values, group.weight_decay);
            if (!buffer_.defined()) {
                values.sub_(gradient, group.learning_rate);
                continue;
            }
            const at::Tensor buffer = buffer_.narrow(0, start, size);
            if (parameters.steps == 1) {
                buffer.copy_(gradient);
            } else {
                buffer.mul_(options.momentum).add_(gradient, 1 - options.dampening);
            }
            if (options.nesterov) {
                values.sub_(gradient.add_(buffer, options.momentum), group.learning_rate);
            } else {
                values.sub_(buffer, group.learning_rate);
            }
        }
    }

    std::vector<std::pair<std::string, at::Tensor>> memory(
        const Parameters& parameters) const override {
        std::vector<std::pair<std::string, at::Tensor>> list;
        for (size_t i = 0; i < parameters.size() && buffer_.defined(); ++i)
            list.emplace_back(parameters.name(i) + ".momentum_buffer",
                              parameters.slice(buffer_, i));
        return list;
    }

  private:
    at::Tensor buffer_;  // [n]
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const Parameters&) {
    return std::make_unique<Sgd>(at::Tensor());
}

std::unique_ptr<Optimizer> make_sgd_momentum(const Parameters& parameters) {
    return std::make_unique<Sgd>(at::zeros_like(parameters.values));
}

}  // namespace grpo
