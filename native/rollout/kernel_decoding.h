// Decoding on a CPU, by kernels: keys and values in blocks, a step in plain loops, draws row by
// row.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/team.h"
#include "model/block_cache.h"
#include "rollout/decoding.h"
#include "rollout/step_decoder.h"

namespace grpo {

class KernelDecoding : public Decoding {
  public:
    /// Whether this decoder's device and dtypes are those of the kernels.
    static bool can_run(const Decoder& decoder) { return StepDecoder::can_run(decoder); }
    /// Sequences are known by the `index` under the name of the policy; without one they lie in
    /// `pool` until they end.
    KernelDecoding(const Decoder& decoder, const ForwardMode& mode, BlockPool& pool,
                   PrefixIndex* index, const std::string& policy);

    RolloutCache& cache() override { return cache_; }
    bool takes_parts() const override { return true; }
    std::shared_ptr<Attention> attention(const std::vector<PromptPart>& parts, bool whole) override;
    std::vector<cpu::DrawnToken> draw_first(const at::Tensor& logits,
                                            const std::vector<int64_t>& prompt_of_row,
                                            const std::vector<cpu::RowDraw>& rows) override;
    std::vector<cpu::DrawnToken> step(const DecodeRows& rows, const Draws& draws) override;
    void close_row(int64_t row, std::span<const int32_t> ids) override;

  private:
    const Decoder& decoder_;
    BlockCache cache_;
    cpu::Team team_;
    StepDecoder step_decoder_;
    cpu::RowSampler sampler_;
};

}  // namespace grpo
