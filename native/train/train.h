// Forward and backward of a batch through any loss on scores: micro-batches through the decoder,
// log-probabilities and the loss's derivative chunk by chunk, gradients into the adapter. Knows of
// the loss what `Loss` says; GRPO's is in grpo_loss.h.
#pragma once

#include <functional>

#include "batch.h"
#include "device.h"
#include "model/decoder.h"
#include "train/completions.h"
#include "train/logprobs.h"

namespace grpo {

/// A loss of the scores of a batch's tokens: those that count, numbered through the whole batch.
/// What it adds up to and measures is the loss's own affair.
class Loss {
  public:
    virtual ~Loss() = default;

    /// Whether a token's derivative depends on the other tokens of its completion. Then
    /// `differentiate` sees whole completions, and the output layer is passed twice.
    virtual bool needs_whole_completions() const { return false; }

    /// Whether the entropies of all tokens must be known before the first derivative, which takes a
    /// forward pass more. `prepare` is given them, [tokens], unless there are none.
    virtual bool needs_entropies() const { return false; }
    virtual void prepare(const at::Tensor& /*entropies*/) {}

    /// Whether scores tell which tokens are the likeliest ones.
    virtual bool needs_top1() const { return false; }

    /// Derivative of the loss by the scores of tokens [from, from + n). Called once for every token
    /// and, with several lanes, from several threads at a time. `completions` tells which tokens
    /// belong together, where that was asked for; else null.
    virtual ScoreGradient differentiate(int64_t from, const TokenScores& scores,
                                        const Completions* completions) = 0;
};

/// Adds the gradient of the loss to the adapter; gives the number of micro-batches. Of `batch` all
/// is fed, whether scored or not (scored_part leaves out what is fed in vain). Reads nothing back.
/// Throws CANCELLED between micro-batches, which leaves a part of the gradient behind.
int64_t backward(const Decoder& decoder, const Adapter& adapter, const Batch& batch,
                 const PassOptions& options, Loss& loss, const std::function<bool()>& cancelled);

/// Shows the loss the scores of all tokens that count, without a gradient; gives the number of
/// micro-batches.
int64_t evaluate(const Decoder& decoder, const ForwardMode& mode, const Batch& batch,
                 const PassOptions& options, Loss& loss, const std::function<bool()>& cancelled);

/// Log-probability of every completion token: [tokens]. Reads back once.
std::vector<float> completion_logprobs(const Decoder& decoder, const Batch& batch,
                                       double temperature, int64_t max_tokens,
                                       const ForwardMode& mode, ReadBack& read_back,
                                       const std::function<bool()>& cancelled);

}  // namespace grpo
