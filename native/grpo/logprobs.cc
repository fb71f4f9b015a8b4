#include "grpo/logprobs.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

namespace grpo {
namespace {

constexpr int64_t kChunkElements = int64_t{16} << 20;  // logits of one chunk: 64 MiB in fp32

/// Tokens whose logits fit one chunk.
int64_t chunk_tokens(const Decoder& decoder) {
    return std::max<int64_t>(1, kChunkElements / decoder.config().vocab_size);
}

struct Scored {
    TokenScores scores;
    at::Tensor probabilities;  // [n, V]
};

Scored score(at::Tensor logits, const at::Tensor& targets, double temperature) {
    if (temperature != 1) logits = logits / temperature;
    const at::Tensor all = logits.log_softmax(-1);  // [n, V]
    const at::Tensor probabilities = all.exp();
    return {{all.gather(1, targets.unsqueeze(1)).squeeze(1), (probabilities * all).sum(-1).neg()},
            probabilities};
}

/// dloss/dz [n, V], in the memory of p: onehot · dl - p dl - dH (p log p + p H).
at::Tensor logit_gradient(Scored& scored, const at::Tensor& targets, const ScoreGradient& gradient,
                          double temperature) {
    const at::Tensor dl = (gradient.logprobs / temperature).unsqueeze(1);  // [n, 1]
    at::Tensor& dz = scored.probabilities;
    if (gradient.entropy.defined()) {
        const at::Tensor dh = (gradient.entropy / temperature).unsqueeze(1);  // [n, 1]
        const at::Tensor surprise = at::xlogy(dz, dz).mul_(dh);
        dz.mul_(-(dl + dh * scored.scores.entropy.unsqueeze(1))).sub_(surprise);
    } else {
        dz.mul_(-dl);
    }
    return dz.scatter_add_(1, targets.unsqueeze(1), dl.to(dz.scalar_type()));
}

}  // namespace

TokenScores score_tokens(const Decoder& decoder, const at::Tensor& normed,
                         const at::Tensor& targets, double temperature, const ForwardMode& mode) {
    const c10::NoGradGuard no_grad;
    std::vector<at::Tensor> logprobs, entropy;
    const int64_t total = normed.size(0), chunk = chunk_tokens(decoder);
    for (int64_t start = 0; start < total; start += chunk) {
        const int64_t n = std::min(chunk, total - start);
        const at::Tensor logits = decoder.logits(normed.narrow(0, start, n), mode);
        const TokenScores scores = score(logits, targets.narrow(0, start, n), temperature).scores;
        logprobs.push_back(scores.logprobs);
        entropy.push_back(scores.entropy);
    }
    return {at::cat(logprobs), at::cat(entropy)};
}

at::Tensor backward_through_output(
    const Decoder& decoder, const at::Tensor& normed, const at::Tensor& targets, double temperature,
    const ForwardMode& mode,
    const std::function<ScoreGradient(int64_t start, const TokenScores& scores)>& derivative) {
    const c10::NoGradGuard no_grad;
    at::Tensor gradient = at::empty_like(normed);  // [N, C]
    const int64_t total = normed.size(0), chunk = chunk_tokens(decoder);
    for (int64_t start = 0; start < total; start += chunk) {
        const int64_t n = std::min(chunk, total - start);
        const at::Tensor chunk_targets = targets.narrow(0, start, n);
        // A graph of the output layer alone: it may be trained, too.
        const at::Tensor leaf = normed.narrow(0, start, n).detach().requires_grad_();
        const at::Tensor logits = [&] {
            const at::AutoGradMode with_grad(true);
            return decoder.logits(leaf, mode);
        }();
        Scored scored = score(logits.detach(), chunk_targets, temperature);
        const at::Tensor dz =
            logit_gradient(scored, chunk_targets, derivative(start, scored.scores), temperature);
        torch::autograd::backward({logits}, {dz});
        gradient.narrow(0, start, n).copy_(leaf.grad());
    }
    return gradient;
}

}  // namespace grpo
