#include "optim/adamw.h"

#include <c10/core/GradMode.h>

namespace grpo {

StepResult adamw_step(Parameters& parameters, const AdamWOptions& options, ReadBack& read_back) {
    const c10::NoGradGuard no_grad;
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
    if (options.weight_decay != 0) {
        parameters.values.mul_(1 - options.learning_rate * options.weight_decay);
    }
    parameters.exp_avg.lerp_(gradient, 1 - options.beta1);
    parameters.exp_avg_sq.mul_(options.beta2).addcmul_(gradient, gradient, 1 - options.beta2);
    const at::Tensor denominator =
        parameters.exp_avg_sq.sqrt().div_(std::sqrt(correction2)).add_(options.epsilon);
    parameters.values.addcdiv_(parameters.exp_avg, denominator,
                               -options.learning_rate / correction1);
    result.applied = true;
    return result;
}

}  // namespace grpo
