// The GRPO loss on log-probabilities. Per token, with A the advantage of its completion and l its
// log-probability:
//   ratio     ρ = exp(l - l_old)
//   policy      = -min(ρ A, clip(ρ, 1 - ε_low, 1 + ε_high) A)                 (Shao et al. 2024;
//   Schulman et al. 2017) KL (k3)     = exp(l_ref - l) - (l_ref - l) - 1, times ρ under
//   bias_correction_kl   (Schulman 2020) L           = policy + β KL
// Completions are reduced by constant weights, so the loss is Σ w_t L_t however the tokens are
// batched:
//   grpo: w = 1 / (tokens of the completion · completions)       dapo: w = 1 / (tokens of the whole
//   batch)
// A completion without tokens counts as one of the completions and adds nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include "batch.h"

namespace grpo {

/// Per-token inputs of one chunk, all [n] and of one floating dtype.
struct LossTokens {
    at::Tensor logprobs;    // current, may require grad
    at::Tensor old;         // undefined: logprobs, detached
    at::Tensor reference;   // defined when beta > 0
    at::Tensor advantages;  // of the token's completion
};

struct TokenLoss {
    at::Tensor loss;        // [n] L
    at::Tensor kl;          // [n] detached, undefined when beta = 0
    at::Tensor clip_low;    // [n] 1 where ρ < 1 - ε_low and A < 0
    at::Tensor clip_high;   // [n] 1 where ρ > 1 + ε_high and A > 0
    at::Tensor difference;  // [n] |l - l_old| detached
};

TokenLoss token_loss(const LossTokens& tokens, const LossOptions& options);

/// w of every completion's tokens: [B].
std::vector<double> token_weights(const std::vector<int64_t>& completion_lengths,
                                  const LossOptions& options);

/// Loss and its derivative with respect to every log-probability [n], on float64: what the tests
/// differentiate numerically is the code that trains.
struct LossAndGradient {
    double loss = 0;
    std::vector<double> gradient;
};
LossAndGradient loss_and_gradient(const std::vector<double>& logprobs,
                                  const std::vector<double>& old,
                                  const std::vector<double>& reference,
                                  const std::vector<double>& advantages,
                                  const std::vector<int32_t>& offsets, const LossOptions& options);

}  // namespace grpo
