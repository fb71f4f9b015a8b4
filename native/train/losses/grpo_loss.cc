#include "train/losses/grpo_loss.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "train/micro_batch.h"

namespace grpo {
namespace {

/// Whether no token that counts has an advantage.
bool without_advantage(const TrainBatch& batch, int64_t row) {
    if (batch.token_advantages.empty()) return batch.advantages[row] == 0;
    for (int64_t i = batch.completion_offsets[row]; i < batch.completion_offsets[row + 1]; ++i) {
        if (batch.counts(i) && batch.token_advantages[i] != 0) return false;
    }
    return true;
}

/// Rows whose gradient is exactly zero whatever their tokens are: without advantage, and no term
/// that would reach them all the same.
std::vector<bool> idle_rows(const TrainBatch& batch, const LossOptions& options) {
    const bool reached =
        options.beta != 0 || options.entropy_coef != 0 || options.top_entropy_quantile < 1;
    std::vector<bool> idle(batch.num_rows(), false);
    if (!options.skip_idle_rows || reached) return idle;
    for (int64_t row = 0; row < batch.num_rows(); ++row) idle[row] = without_advantage(batch, row);
    return idle;
}

BatchShape shape_of(const TrainBatch& batch, const TrainBatch& scored) {
    return {.counted = counted_lengths(batch.completion_offsets, batch.loss_mask),
            .scored = counted_lengths(scored.completion_offsets, scored.loss_mask),
            .slices = slice_ranges(batch.slice_offsets, batch.num_rows())};
}

/// Of the tokens that are computed.
std::vector<double> advantages_of(const TrainBatch& scored, const BatchShape& shape) {
    if (scored.token_advantages.empty())
        return shape.spread({scored.advantages.begin(), scored.advantages.end()});
    const std::vector<float> counted = take_counted(scored.token_advantages, scored.loss_mask);
    return {counted.begin(), counted.end()};
}

/// Undefined where there are none.
at::Tensor upload(const std::vector<float>& logprobs, const Batch& batch, at::Device device) {
    return logprobs.empty() ? at::Tensor()
                            : to_device(take_counted(logprobs, batch.loss_mask), device);
}

at::Tensor narrow_or_undefined(const at::Tensor& tensor, int64_t start, int64_t n) {
    return tensor.defined() ? tensor.narrow(0, start, n) : tensor;
}

}  // namespace

GrpoLoss::GrpoLoss(const TrainBatch& batch, const TrainBatch& scored, const LossOptions& options,
                   at::Device device)
    : options_(options),
      shape_(shape_of(batch, scored)),
      tokens_(batch_tokens(advantages_of(scored, shape_), shape_, options, at::kFloat, device)),
      metrics_(shape_, batch.token_advantages.empty() ? batch.advantages : std::vector<float>(),
               options, device) {
    tokens_.old = upload(scored.old_logprobs, scored, device);
    tokens_.reference = upload(scored.reference_logprobs, scored, device);
    tokens_.sampling = upload(scored.sampling_logprobs, scored, device);
    tokens_.importance = upload(scored.importance_ratios, scored, device);
    if (!needs_entropies()) add_entropy_terms(tokens_, at::Tensor(), shape_, options_);
}

bool GrpoLoss::needs_whole_completions() const {
    return grpo::needs_whole_completions(options_, tokens_);
}

bool GrpoLoss::needs_entropies() const { return options_.top_entropy_quantile < 1; }

void GrpoLoss::prepare(const at::Tensor& entropies) {
    add_entropy_terms(tokens_, entropies, shape_, options_);
}

ScoreGradient GrpoLoss::differentiate(int64_t from, const TokenScores& scores,
                                      const Completions* completions) {
    const at::AutoGradMode with_grad(true);
    const int64_t n = scores.logprobs.size(0);
    const auto part = [&](const at::Tensor& all) { return narrow_or_undefined(all, from, n); };
    const LossTokens tokens{.batch = {.advantages = part(tokens_.advantages),
                                      .weights = part(tokens_.weights),
                                      .old = part(tokens_.old),
                                      .reference = part(tokens_.reference),
                                      .sampling = part(tokens_.sampling),
                                      .importance = part(tokens_.importance),
                                      .entropy_mask = part(tokens_.entropy_mask),
                                      .entropy_weights = part(tokens_.entropy_weights)},
                            .logprobs = scores.logprobs.detach().requires_grad_(),
                            .entropy = scores.entropy.detach(),
                            .completions = completions};
    const TokenLoss loss = token_loss(tokens, options_);
    {
        // Lanes add to rows of their own.
        const std::lock_guard lock(metrics_mutex_);
        metrics_.add(from, tokens, loss);
    }
    // The loss is linear in the entropies, so their derivative is known.
    return {
        torch::autograd::grad({loss.loss.sum()}, {tokens.logprobs})[0],
        tokens.batch.entropy_weights.defined() ? tokens.batch.entropy_weights.neg() : at::Tensor()};
}

LossResult GrpoLoss::result(ReadBack& read_back) const { return metrics_.result(read_back); }

LossResult forward_backward(const Decoder& decoder, const Adapter& adapter, const TrainBatch& batch,
                            const LossOptions& options, ReadBack& read_back,
                            const std::function<bool()>& cancelled) {
    const TrainBatch scored = scored_part(batch, idle_rows(batch, options));
    GrpoLoss loss(batch, scored, options, decoder.device());
    const int64_t micro_batches = backward(decoder, adapter, scored, options.pass, loss, cancelled);
    LossResult result = loss.result(read_back);
    result.micro_batches = micro_batches;
    return result;
}

}  // namespace grpo
