// Forward and backward of one GRPO batch: micro-batches through the decoder, log-probabilities and
// loss chunk by chunk, gradients into the adapter. Also the metrics of the loss, under TRL's
// definitions.
#pragma once

#include <functional>

#include "batch.h"
#include "device.h"
#include "grpo/loss.h"
#include "model/decoder.h"

namespace grpo {

/// Adds the gradient of the batch's loss to the adapter. Reads back once. Throws CANCELLED between
/// micro-batches, which leaves a part of the gradient behind.
LossResult forward_backward(const Decoder& decoder, const Adapter& adapter, const TrainBatch& batch,
                            const LossOptions& options, ReadBack& read_back,
                            const std::function<bool()>& cancelled);

/// Log-probability of every completion token: [tokens]. Reads back once.
std::vector<float> completion_logprobs(const Decoder& decoder, const Batch& batch,
                                       double temperature, int64_t max_tokens,
                                       const ForwardMode& mode, ReadBack& read_back,
                                       const std::function<bool()>& cancelled);

}  // namespace grpo
