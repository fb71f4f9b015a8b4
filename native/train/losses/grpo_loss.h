// GRPO's losses (formulas in loss.h) and their metrics (metrics.h) for one batch on its way through
// the model, and the step that puts both together.
#pragma once

#include <functional>
#include <mutex>

#include "batch.h"
#include "device.h"
#include "train/losses/loss.h"
#include "train/metrics.h"
#include "train/train.h"

namespace grpo {

class GrpoLoss final : public Loss {
  public:
    /// `scored`: what of the batch is computed (micro_batch.h).
    GrpoLoss(const TrainBatch& batch, const TrainBatch& scored, const LossOptions& options,
             at::Device device);

    bool needs_whole_completions() const override;
    bool needs_entropies() const override;
    void prepare(const at::Tensor& entropies) override;
    ScoreGradient differentiate(int64_t from, const TokenScores& scores,
                                const Completions* completions) override;

    /// After the last derivative. Reads back once.
    LossResult result(ReadBack& read_back) const;

  private:
    const LossOptions& options_;
    const BatchShape shape_;
    BatchTokens tokens_;
    MetricSums metrics_;
    std::mutex metrics_mutex_;
};

/// Adds the gradient of the batch's loss to the adapter. Reads back once. Throws CANCELLED between
/// micro-batches, which leaves a part of the gradient behind.
LossResult forward_backward(const Decoder& decoder, const Adapter& adapter, const TrainBatch& batch,
                            const LossOptions& options, ReadBack& read_back,
                            const std::function<bool()>& cancelled);

}  // namespace grpo
