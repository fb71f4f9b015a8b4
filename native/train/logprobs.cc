#include "train/logprobs.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <vector>

#include "engine_limits.h"
#include "kernels/row_ops.h"

namespace grpo {
namespace {

/// Tokens whose logits fit one chunk; threads side by side share it.
int64_t chunk_tokens(const Decoder& decoder) {
    const int64_t sharing = at::in_parallel_region() ? at::get_num_threads() : 1;
    const int64_t elements =
        decoder.device().is_cpu() ? kLimits.chunk_elements : kLimits.device_chunk_elements;
    return std::max<int64_t>(1, elements / sharing / decoder.config().vocab_size);
}

/// The scores of a chunk of tokens and, from the same logits, their derivatives. On a CPU two
/// passes over the logits and nothing beside them; else ATen's operators.
class Chunk {
  public:
    /// logits [n, V], targets [n].
    Chunk(const at::Tensor& logits, const at::Tensor& targets, double temperature, bool top1)
        : targets_(targets), temperature_(temperature) {
        // Of equal ones argmax takes the first.
        if (top1) scores_.top1 = (logits.argmax(-1) == targets).to(at::kFloat);
        if (cpu::fits(logits)) {
            logits_ = logits.contiguous();
            rows_ = cpu::score(logits_, targets, temperature);
            scores_.logprobs = cpu::of_rows(rows_, &cpu::LogitRow::logprob);
            scores_.entropy = cpu::of_rows(rows_, &cpu::LogitRow::entropy);
            return;
        }
        const at::Tensor all = (temperature == 1 ? logits : logits / temperature).log_softmax(-1);
        probabilities_ = all.exp();
        scores_.logprobs = all.gather(1, targets.unsqueeze(1)).squeeze(1);
        scores_.entropy = (probabilities_ * all).sum(-1).neg();
    }

    const TokenScores& scores() const { return scores_; }

    /// dloss/dlogits [n, V] = onehot · dl - p dl - dH (p log p + p H), in memory that is
    /// overwritten.
    at::Tensor derivative(const ScoreGradient& gradient) {
        if (logits_.defined()) {
            cpu::score_backward(logits_, rows_, gradient.logprobs, gradient.entropy);
            return logits_;
        }
        const at::Tensor dl = (gradient.logprobs / temperature_).unsqueeze(1);  // [n, 1]
        at::Tensor& dz = probabilities_;
        if (gradient.entropy.defined()) {
            const at::Tensor dh = (gradient.entropy / temperature_).unsqueeze(1);  // [n, 1]
            const at::Tensor surprise = at::xlogy(dz, dz).mul_(dh);
            dz.mul_(-(dl + dh * scores_.entropy.unsqueeze(1))).sub_(surprise);
        } else {
            dz.mul_(-dl);
        }
        return dz.scatter_add_(1, targets_.unsqueeze(1), dl.to(dz.scalar_type()));
    }

  private:
    at::Tensor targets_;
    double temperature_;
    TokenScores scores_;
    at::Tensor logits_;  // on a CPU
    std::vector<cpu::LogitRow> rows_;
    at::Tensor probabilities_;  // elsewhere
};

}  // namespace

TokenScores score_tokens(const Decoder& decoder, const at::Tensor& normed,
                         const at::Tensor& targets, double temperature, const ForwardMode& mode,
                         bool top1) {
    const c10::NoGradGuard no_grad;
    std::vector<at::Tensor> logprobs, entropy, likeliest;
    const int64_t total = normed.size(0), chunk = chunk_tokens(decoder);
    for (int64_t start = 0; start < total; start += chunk) {
        const int64_t n = std::min(chunk, total - start);
        const at::Tensor logits = decoder.logits(normed.narrow(0, start, n), mode);
        const Chunk scored(logits, targets.narrow(0, start, n), temperature, top1);
        logprobs.push_back(scored.scores().logprobs);
        entropy.push_back(scored.scores().entropy);
        if (top1) likeliest.push_back(scored.scores().top1);
    }
    return {at::cat(logprobs), at::cat(entropy), top1 ? at::cat(likeliest) : at::Tensor()};
}

at::Tensor backward_through_output(
    const Decoder& decoder, const at::Tensor& normed, const at::Tensor& targets, double temperature,
    const ForwardMode& mode, bool top1,
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
        Chunk scored(logits.detach(), chunk_targets, temperature, top1);
        // In the memory of the logits, whose values no backward reads.
        const at::Tensor dz = scored.derivative(derivative(start, scored.scores()));
        torch::autograd::backward({logits}, {dz});
        gradient.narrow(0, start, n).copy_(leaf.grad());
    }
    return gradient;
}

}  // namespace grpo
