#include "grpo/loss.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "device.h"

namespace grpo {

TokenLoss token_loss(const LossTokens& tokens, const LossOptions& options) {
    const at::Tensor current = tokens.logprobs.detach();
    const at::Tensor old = tokens.old.defined() ? tokens.old : current;
    const at::Tensor ratio = (tokens.logprobs - old).exp();
    const at::Tensor clipped = ratio.clamp(1 - options.epsilon_low, 1 + options.epsilon_high);
    const at::Tensor& advantages = tokens.advantages;

    TokenLoss result;
    result.loss = at::minimum(ratio * advantages, clipped * advantages).neg();
    if (options.beta != 0) {
        const at::Tensor log_ratio = tokens.reference - tokens.logprobs;
        at::Tensor kl = log_ratio.exp() - log_ratio - 1;
        if (options.bias_correction_kl) kl = kl * ratio;
        result.loss = result.loss + kl * options.beta;
        result.kl = kl.detach();
    }
    const c10::NoGradGuard no_grad;
    const auto dtype = current.scalar_type();
    result.clip_low = ((ratio < 1 - options.epsilon_low) & (advantages < 0)).to(dtype);
    result.clip_high = ((ratio > 1 + options.epsilon_high) & (advantages > 0)).to(dtype);
    result.difference = at::maximum(current - old, old - current);
    return result;
}

std::vector<double> token_weights(const std::vector<int64_t>& completion_lengths,
                                  const LossOptions& options) {
    const auto rows = static_cast<double>(completion_lengths.size());
    double tokens = 0;
    for (const int64_t length : completion_lengths) tokens += static_cast<double>(length);
    std::vector<double> weights;
    for (const int64_t length : completion_lengths) {
        const double divisor =
            options.type == LossType::kGrpo
                ? static_cast<double>(std::max<int64_t>(length, 1)) * rows
                : (options.loss_tokens > 0 ? options.loss_tokens : std::max(tokens, 1.0));
        weights.push_back(1.0 / (divisor * options.gradient_accumulation_steps));
    }
    return weights;
}

LossAndGradient loss_and_gradient(const std::vector<double>& logprobs,
                                  const std::vector<double>& old,
                                  const std::vector<double>& reference,
                                  const std::vector<double>& advantages,
                                  const std::vector<int32_t>& offsets, const LossOptions& options) {
    std::vector<int64_t> lengths;
    for (size_t b = 0; b + 1 < offsets.size(); ++b) lengths.push_back(offsets[b + 1] - offsets[b]);
    const std::vector<double> row_weights = token_weights(lengths, options);
    std::vector<double> token_advantages, weights;
    for (size_t b = 0; b < lengths.size(); ++b) {
        token_advantages.insert(token_advantages.end(), lengths[b], advantages[b]);
        weights.insert(weights.end(), lengths[b], row_weights[b]);
    }
    LossTokens tokens{
        .logprobs = to_device(logprobs, at::kCPU).requires_grad_(),
        .old = old.empty() ? at::Tensor() : to_device(old, at::kCPU),
        .reference = reference.empty() ? at::Tensor() : to_device(reference, at::kCPU),
        .advantages = to_device(token_advantages, at::kCPU)};
    const at::Tensor loss = (token_loss(tokens, options).loss * to_device(weights, at::kCPU)).sum();
    const at::Tensor gradient = torch::autograd::grad({loss}, {tokens.logprobs})[0];
    ReadBack read_back;
    return {loss.item<double>(), read_back.operator()<double>(gradient)};
}

}  // namespace grpo
