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

/// How Muon scales its steps, by torch's names.
enum class AdjustLrFn : uint8_t { kMatchRmsAdamW, kOriginal };
template <>
inline constexpr auto kNames<AdjustLrFn> = std::to_array<Named<AdjustLrFn>>(
    {{"match_rms_adamw", AdjustLrFn::kMatchRmsAdamW}, {"original", AdjustLrFn::kOriginal}});

/// The options of a step. lib/options/optimizer.ts has their meaning and defaults; each must stand
/// in `fields` too.
struct OptimizerOptions {
    std::string optimizer = "adamw";  // of kOptimizers
    double learning_rate = 0;
    double lora_plus_ratio = 1;           // rate of B, magnitudes, biases, norms / learning_rate
    double lora_plus_embedding_rate = 0;  // of LoRA on the embedding; 0: learning_rate
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0;
    double max_grad_norm = 0;  // 0: no clipping
    // What an optimizer has of its own; absent for the others.
    double momentum = 0;                                   // sgd_momentum, muon
    double dampening = 0;                                  // sgd_momentum
    bool nesterov = false;                                 // sgd_momentum, muon
    int64_t ns_steps = 5;                                  // muon
    AdjustLrFn adjust_lr_fn = AdjustLrFn::kMatchRmsAdamW;  // muon

    static void fields(auto& self, auto& field) {
        field("optimizer", self.optimizer);
        field("learningRate", self.learning_rate);
        field("loraPlusRatio", self.lora_plus_ratio);
        field("loraPlusEmbeddingRate", self.lora_plus_embedding_rate);
        field("beta1", self.beta1);
        field("beta2", self.beta2);
        field("epsilon", self.epsilon);
        field("weightDecay", self.weight_decay);
        field("maxGradNorm", self.max_grad_norm);
        field.optional("momentum", self.momentum);
        field.optional("dampening", self.dampening);
        field.optional("nesterov", self.nesterov);
        field.optional("nsSteps", self.ns_steps);
        field.optional("adjustLrFn", self.adjust_lr_fn);
    }
};

class Optimizer {
  public:
    virtual ~Optimizer() = default;

    /// Updates the values from parameters.gradient; parameters.steps already counts this step.
    virtual void step(Parameters& parameters, const OptimizerOptions& options) = 0;
    /// What it remembers, by the names that checkpoints have: the tensors themselves, not copies.
    virtual std::vector<std::pair<std::string, at::Tensor>> memory(
        const Parameters& parameters) const = 0;

    std::string name;  // under which make_optimizer made it
};

std::unique_ptr<Optimizer> make_adamw(const Parameters& parameters);
std::unique_ptr<Optimizer> make_adamw_8bit(const Parameters& parameters);
std::unique_ptr<Optimizer> make_sgd(const Parameters& parameters);
std::unique_ptr<Optimizer> make_sgd_momentum(const Parameters& parameters);
std::unique_ptr<Optimizer> make_adafactor(const Parameters& parameters);
std::unique_ptr<Optimizer> make_muon(const Parameters& parameters);

struct OptimizerEntry {
    const char* name;
    std::unique_ptr<Optimizer> (*make)(const Parameters& parameters);
};

/// Every optimizer, by the name that options and checkpoints have for it.
inline constexpr OptimizerEntry kOptimizers[] = {
    {"adamw", make_adamw},
    {"adamw_8bit", make_adamw_8bit},
    {"sgd", make_sgd},
    {"sgd_momentum", make_sgd_momentum},
    {"adafactor", make_adafactor},
    {"muon", make_muon},
};

/// Fresh memory for parameters that have not been stepped. Throws BAD_INPUT for a name that is not
/// in the table.
std::unique_ptr<Optimizer> make_optimizer(const std::string& name, const Parameters& parameters);

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

}  // namespace grpo
