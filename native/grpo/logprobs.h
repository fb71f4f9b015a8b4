// Log-probabilities of given tokens without ever holding the logits of a whole batch: hidden states
// go through the output layer chunk by chunk, and the gradient with respect to the hidden states is
// formed in the same pass. With z = W h / τ, p = softmax(z):
//   l = log p_y,   entropy = -Σ p log p,   dl/dz = onehot(y) - p
// Memory is one chunk of [n, V], whatever the batch, length or vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "model/decoder.h"

namespace grpo {

struct TokenScores {
    at::Tensor logprobs;  // [n] fp32
    at::Tensor entropy;   // [n] fp32
};

/// One chunk: normed [n, C], targets [n] int64.
TokenScores score_tokens(const Decoder& decoder, const at::Tensor& normed,
                         const at::Tensor& targets, double temperature, const ForwardMode& mode);

/// Tokens whose logits fit one chunk.
int64_t chunk_tokens(const Decoder& decoder);

/// Calls `derivative(start, scores)` chunk by chunk; it returns dloss/dlogprob [n] of those tokens.
/// Gives dloss/dnormed [N, C] in normed's dtype. Needs no autograd.
at::Tensor backward_through_output(
    const Decoder& decoder, const at::Tensor& normed, const at::Tensor& targets, double temperature,
    const ForwardMode& mode,
    const std::function<at::Tensor(int64_t start, const TokenScores& scores)>& derivative);

}  // namespace grpo
