#include "optim/optimizer.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "error.h"

namespace grpo {

at::Tensor norm_of(const at::Tensor& x) {
    constexpr int64_t kPiece = 65536;
    const int64_t pieces = x.numel() / kPiece;
    if (pieces < 2) return at::linalg_vector_norm(x);
    const at::Tensor flat = x.view({-1});
    const at::Tensor rest = flat.narrow(0, pieces * kPiece, x.numel() - pieces * kPiece);
    const at::Tensor norms =
        at::linalg_vector_norm(flat.narrow(0, 0, pieces * kPiece).view({pieces, kPiece}), 2, {1});
    return at::linalg_vector_norm(at::cat({norms, at::linalg_vector_norm(rest).view({1})}));
}

GroupOptions of_group(const OptimizerOptions& options, ParameterGroup group) {
    const double rate = options.learning_rate, boosted = rate * options.lora_plus_ratio;
    const double embedding =
        options.lora_plus_embedding_rate > 0 ? options.lora_plus_embedding_rate : rate;
    switch (group) {
        case ParameterGroup::kMatrix:
            return {rate, options.weight_decay};
        case ParameterGroup::kLoraB:
            return {boosted, options.weight_decay};
        case ParameterGroup::kEmbedding:
            return {embedding, options.weight_decay};
        case ParameterGroup::kVector:
            break;
    }
    return {boosted, 0};
}

std::unique_ptr<Optimizer> make_optimizer(const std::string& name, const Parameters& parameters) {
    for (const OptimizerEntry& entry : kOptimizers) {
        if (name != entry.name) continue;
        std::unique_ptr<Optimizer> optimizer = entry.make(parameters);
        optimizer->name = name;
        return optimizer;
    }
    throw EngineError("BAD_INPUT", "there is no optimizer named " + name);
}

StepResult optimizer_step(Parameters& parameters, const OptimizerOptions& options,
                          ReadBack& read_back) {
    const c10::NoGradGuard no_grad;
    parameters.need_gradient();
    if (!parameters.optimizer) {
        parameters.optimizer = make_optimizer(options.optimizer, parameters);
    } else if (parameters.optimizer->name != options.optimizer) {
        throw EngineError("BAD_INPUT",
                          "the optimizer's state belongs to another optimizer than this step's",
                          "go on with the one that the earlier steps or the checkpoint had");
    }
    at::Tensor& gradient = parameters.gradient;
    StepResult result;
    // On the meta device the norm reads as zero, which is finite, so the whole step runs there too.
    result.grad_norm = read_back.operator()<double>(norm_of(gradient))[0];
    if (!std::isfinite(result.grad_norm)) return result;

    if (options.max_grad_norm > 0) {
        const double factor = options.max_grad_norm / (result.grad_norm + 1e-6);
        if (factor < 1) gradient.mul_(factor);
    }
    ++parameters.steps;
    parameters.optimizer->step(parameters, options);
    result.applied = true;
    return result;
}

}  // namespace grpo
