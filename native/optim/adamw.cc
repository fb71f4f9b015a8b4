#include "optim/adamw.h"

#include <c10/core/GradMode.h>

namespace grpo {
namespace {

// Elements updated at a time: the step's own memory is one piece, however large the model.
constexpr int64_t kStepElements = int64_t{64} << 20;

struct GroupOptions {
    double learning_rate;
    double weight_decay;
};

GroupOptions of_group(const AdamWOptions& options, ParameterGroup group) {
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

}  // namespace

StepResult adamw_step(Parameters& parameters, const AdamWOptions& options, ReadBack& read_back) {
    const c10::NoGradGuard no_grad;
    parameters.need_gradient();
    parameters.need_moments();
    at::Tensor& gradient = parameters.gradient;
    StepResult result;
    // On the meta device the norm reads as zero, which is finite, so the whole step runs there too.
    result.grad_norm = read_back.operator()<double>(at::linalg_vector_norm(gradient))[0];
    if (!std::isfinite(result.grad_norm)) return result;

    if (options.max_grad_norm > 0) {
        const double factor = options.max_grad_norm / (result.grad_norm + 1e-6);
        if (factor < 1) gradient.mul_(factor);
    }
    const int64_t t = ++parameters.steps;
    const double correction1 = 1 - std::pow(options.beta1, t);
    const double correction2 = 1 - std::pow(options.beta2, t);
    parameters.exp_avg.lerp_(gradient, 1 - options.beta1);
    parameters.exp_avg_sq.mul_(options.beta2).addcmul_(gradient, gradient, 1 - options.beta2);
    for (size_t group = 0; group < kParameterGroups; ++group) {
        const auto [start, size] = parameters.groups()[group];
        const auto [rate, decay] = of_group(options, static_cast<ParameterGroup>(group));
        for (int64_t from = start; from < start + size; from += kStepElements) {
            const int64_t n = std::min(kStepElements, start + size - from);
            at::Tensor values = parameters.values.narrow(0, from, n);
            if (decay != 0) values.mul_(1 - rate * decay);
            const at::Tensor denominator = parameters.exp_avg_sq.narrow(0, from, n)
                                               .sqrt()
                                               .div_(std::sqrt(correction2))
                                               .add_(options.epsilon);
            values.addcdiv_(parameters.exp_avg.narrow(0, from, n), denominator,
                            -rate / correction1);
        }
    }
    result.applied = true;
    return result;
}

}  // namespace grpo
