// Log-probabilities of given tokens without ever holding the logits of a whole batch: hidden states
// go through the output layer chunk by chunk, and the gradient with respect to the hidden states is
// formed in the same pass. With z = W h / τ, p = softmax(z):
//   l = log p_y,   H = -Σ p log p,   dl/dz = onehot(y) - p,   dH/dz = -p (log p + H)
// Memory is one chunk of [n, V], whatever the batch, length or vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "model/decoder.h"

namespace grpo {

struct TokenScores {
    at::Tensor logprobs;  // [n] fp32
    at::Tensor entropy;   // [n] fp32
    at::Tensor top1;      // [n] fp32: 1 where the token is the first of the likeliest; undefined
                          // unless asked for
};

/// What the loss has by way of scores: dloss/dlogprob, and dloss/dentropy or undefined; [n] each.
struct ScoreGradient {
    at::Tensor logprobs;
    at::Tensor entropy;
};

/// normed [N, C], targets [N] int64. Without gradient.
TokenScores score_tokens(const Decoder& decoder, const at::Tensor& normed,
                         const at::Tensor& targets, double temperature, const ForwardMode& mode,
                         bool top1 = false);

/// Calls `derivative(start, scores)` chunk by chunk; it returns the gradient of those tokens'
/// scores. Gives dloss/dnormed [N, C] in normed's dtype, and adds to the gradients of what is
/// trained in the output layer.
at::Tensor backward_through_output(
    const Decoder& decoder, const at::Tensor& normed, const at::Tensor& targets, double temperature,
    const ForwardMode& mode, bool top1,
    const std::function<ScoreGradient(int64_t start, const TokenScores& scores)>& derivative);

}  // namespace grpo
