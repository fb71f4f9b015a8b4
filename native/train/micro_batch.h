// Cutting a batch into pieces that fit a token budget, and laying one piece out for the decoder.
// How it is cut changes memory only: every piece's tokens carry the weights of the whole batch.
// Tokens outside the loss mask are fed like the others, but no score of theirs is asked for: their
// hidden states never meet the output layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "batch.h"
#include "model/attention.h"
#include "model/decoder.h"
#include "train/completions.h"

namespace grpo {

/// What of the batch must be computed: completions end with their last token that counts, and those
/// of `idle` rows are empty.
TrainBatch scored_part(const TrainBatch& batch, const std::vector<bool>& idle);

/// Consecutive rows, and their place in the batch.
struct MicroBatch {
    RowRange rows;
    int64_t index = 0;        // among all micro-batches
    int64_t first_token = 0;  // index of its first token that counts, among the batch's
};

/// Micro-batches whose prompts (each counted once) and completions stay within max_tokens, at least
/// one row each; those without anything to score are left out. In as many lists as threads should
/// compute them side by side, each thread a list. One list where the rows cannot be shared out
/// evenly, or not within max_tokens for all threads together: then every operator uses all threads
/// instead.
std::vector<std::vector<MicroBatch>> plan_lanes(const Batch& batch, int64_t max_tokens,
                                                int64_t threads);

/// One piece, ready for the decoder. A completion's last token is scored but never fed; its first
/// token is predicted by the last token of its prompt.
struct PackedInput {
    PackedLayout layout;
    at::Tensor ids;                       // [N] int64
    at::Tensor positions;                 // [N] int64
    at::Tensor targets;                   // [n] int64: the completion tokens that count, in order
    at::Tensor scored;                    // [n] int64: the flat token that predicts each of them
    std::vector<int64_t> scored_lengths;  // of the completions, empty ones left out
    int64_t context_length = 0;           // of the whole batch, for length-dependent ropes
    int64_t first_token = 0;              // MicroBatch::first_token
};

PackedInput pack_rows(const Batch& batch, const MicroBatch& part, at::Device device);

/// Hidden states that predict the targets, after the last norm: [n, C].
at::Tensor predict_hidden(const Decoder& decoder, const PackedInput& input,
                          const ForwardMode& mode);

}  // namespace grpo
