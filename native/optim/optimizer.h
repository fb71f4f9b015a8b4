// One step of training: gradient clipping by global norm as torch.nn.utils.clip_grad_norm_ computes
// it, and an optimizer that moves the parameters and remembers what it needs for the next step:
//   c = min(1, max_norm / (|g| + 1e-6)),  g <- c g
// The formulas of each optimizer are in its file. lr and wd there are those of the parameter's
// group: under LoRA+ (Hayou et al. 2024) B learns faster than A; biases and norms never decay.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch.h"
#include "device.h"
#include "optim/parameters.h"

namespace grpo {

class Optimizer {
  public:
    explicit Optimizer(OptimizerKind kind) : kind_(kind) {}
    virtual ~Optimizer() = default;
    OptimizerKind kind() const { return kind_; }

    /// Updates the values from parameters.gradient; parameters.steps already counts this step.
    virtual void step(Parameters& parameters, const OptimizerOptions& options) = 0;
    /// What it remembers, by the names that checkpoints have: the tensors themselves, not copies.
    virtual std::vector<std::pair<std::string, at::Tensor>> memory(
        const Parameters& parameters) const = 0;

  private:
    OptimizerKind kind_;
};

/// Fresh memory for parameters that have not been stepped.
std::unique_ptr<Optimizer> make_optimizer(OptimizerKind kind, const Parameters& parameters);

/// Makes the optimizer if there is none yet; clips the gradient in place. Reads back once: the
/// gradient norm, because a step on a non-finite gradient must not happen.
StepResult optimizer_step(Parameters& parameters, const OptimizerOptions& options,
                          ReadBack& read_back);

/// Euclidean norm of a contiguous tensor, by pieces: ATen adds up all squares in fp32 one after
/// another, which is 0.3 % off at 4e7 numbers and 7 % at 4e8.
at::Tensor norm_of(const at::Tensor& x);

/// Learning rate and weight decay of a group.
struct GroupOptions {
    double learning_rate;
    double weight_decay;
};
GroupOptions of_group(const OptimizerOptions& options, ParameterGroup group);

/// One AdamW step on a piece of the buffers, in place of its values and moments (adamw.cc).
void adamw_update(const at::Tensor& values, const at::Tensor& gradient, const at::Tensor& exp_avg,
                  const at::Tensor& exp_avg_sq, const OptimizerOptions& options,
                  const GroupOptions& group, int64_t t);

std::unique_ptr<Optimizer> make_adamw(const Parameters& parameters);
std::unique_ptr<Optimizer> make_adamw_8bit(const Parameters& parameters);
std::unique_ptr<Optimizer> make_sgd(const Parameters& parameters, OptimizerKind kind);
std::unique_ptr<Optimizer> make_adafactor(const Parameters& parameters);
std::unique_ptr<Optimizer> make_muon(const Parameters& parameters);

}  // namespace grpo
