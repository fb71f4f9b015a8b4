// TRL's metrics of the loss: sums by completion that stay on the device until the end of the batch,
// and what is made of them on the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "batch.h"
#include "device.h"
#include "train/logprobs.h"
#include "train/losses/loss.h"

namespace grpo {

class MetricSums {
  public:
    /// advantages [B], or empty where tokens have their own. A completion that is left out has
    /// ratio 1 and advantage 0.
    MetricSums(BatchShape shape, std::vector<float> advantages, const LossOptions& options,
               at::Device device);

    /// Tokens [from, from + n) of those that are computed.
    void add(int64_t from, const LossTokens& tokens, const TokenLoss& loss);

    /// Reads back once.
    LossResult result(ReadBack& read_back) const;

  private:
    const BatchShape shape_;
    const std::vector<float> advantages_;
    const LossOptions& options_;
    at::Tensor row_;      // [tokens] int64
    at::Tensor sums_;     // [B, columns] fp32
    at::Tensor largest_;  // [1] fp32
};

}  // namespace grpo
