#include "grpo/logprobs.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "model/attention.h"
#include "model/frozen_linear.h"

namespace grpo {
namespace {

constexpr int64_t kChunkElements = int64_t{16} << 20;  // logits of one chunk: 64 MiB in fp32

struct Scored {
    TokenScores scores;
    at::Tensor probabilities;  // [n, V]
    at::Tensor capped;         // [n, V] logits before the temperature, if the model caps them
};

Scored score(const Decoder& decoder, const at::Tensor& normed, const at::Tensor& targets,
             double temperature, const ForwardMode& mode) {
    at::Tensor logits = decoder.logits(normed, mode);  // [n, V]
    const at::Tensor capped = decoder.config().logit_softcap == 0 ? at::Tensor() : logits;
    if (temperature != 1) logits = logits / temperature;
    const at::Tensor all = logits.log_softmax(-1);  // [n, V]
    const at::Tensor probabilities = all.exp();
    return {{all.gather(1, targets.unsqueeze(1)).squeeze(1), (probabilities * all).sum(-1).neg()},
            probabilities,
            capped};
}

}  // namespace

int64_t chunk_tokens(const Decoder& decoder) {
    return std::max<int64_t>(1, kChunkElements / decoder.config().vocab_size);
}

TokenScores score_tokens(const Decoder& decoder, const at::Tensor& normed,
                         const at::Tensor& targets, double temperature, const ForwardMode& mode) {
    return score(decoder, normed, targets, temperature, mode).scores;
}

at::Tensor backward_through_output(
    const Decoder& decoder, const at::Tensor& normed, const at::Tensor& targets, double temperature,
    const ForwardMode& mode,
    const std::function<at::Tensor(int64_t start, const TokenScores& scores)>& derivative) {
    const c10::NoGradGuard no_grad;
    at::Tensor gradient = at::empty_like(normed);  // [N, C]
    const int64_t total = normed.size(0), chunk = chunk_tokens(decoder);
    for (int64_t start = 0; start < total; start += chunk) {
        const int64_t n = std::min(chunk, total - start);
        const at::Tensor chunk_targets = targets.narrow(0, start, n);
        Scored scored =
            score(decoder, normed.narrow(0, start, n), chunk_targets, temperature, mode);
        const at::Tensor dl =
            (derivative(start, scored.scores) / temperature).unsqueeze(1);  // [n, 1]
        // dz = dl (onehot - p), in the memory of p.
        at::Tensor dz = scored.probabilities.mul_(-dl);
        dz.scatter_add_(1, chunk_targets.unsqueeze(1), dl.to(dz.scalar_type()));
        dz = softcap_backward(dz, scored.capped, decoder.config().logit_softcap);
        gradient.narrow(0, start, n)
            .copy_(frozen_linear_backward(dz.to(normed.scalar_type()), decoder.output_weight()));
    }
    return gradient;
}

}  // namespace grpo
