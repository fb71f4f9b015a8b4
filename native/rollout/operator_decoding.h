// Decoding by operators, on any device: keys and values in tensors, a step through the decoder, and
// where the device has graphs, steps of few shapes that were recorded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "device.h"
#include "model/step_cache.h"
#include "rollout/decoding.h"
#include "rollout/sampler.h"
#include "rollout/step_graph.h"

namespace grpo {

class OperatorDecoding : public Decoding {
  public:
    /// `record`: steps of few shapes, recorded where the device has graphs; all rows must draw
    /// alike.
    OperatorDecoding(const Decoder& decoder, const ForwardMode& mode, const RolloutRoom& room,
                     bool record, ReadBack& read_back);

    RolloutCache& cache() override { return *cache_; }
    bool takes_parts() const override { return false; }
    std::shared_ptr<Attention> attention(const std::vector<PromptPart>& parts, bool whole) override;
    std::vector<cpu::DrawnToken> draw_first(const at::Tensor& logits,
                                            const std::vector<int64_t>& prompt_of_row,
                                            const std::vector<cpu::RowDraw>& rows) override;
    std::vector<cpu::DrawnToken> step(const DecodeRows& rows, const Draws& draws) override;
    void close_row(int64_t row, std::span<const int32_t> ids) override;

  private:
    /// A decode step whose tensors stay where they are.
    struct StaticStep {
        std::unique_ptr<StepInputs> inputs;
        at::Tensor logits, drawn;          // drawn as of grpo::draw()
        std::unique_ptr<StepGraph> graph;  // where the device has graphs
    };

    /// Writes what the next draws of rows first, first + 1, ... depend on where operators find it.
    void mark(int64_t first, const std::vector<cpu::RowDraw>& draws);
    at::Tensor step_logits(const StepInputs& inputs);
    std::vector<cpu::DrawnToken> step_recorded(const DecodeRows& rows,
                                               const std::vector<cpu::RowDraw>& draws,
                                               const std::vector<double>& uniforms);
    /// Draws rows first, first + 1, ... from their logits, those that draw alike together.
    std::vector<cpu::DrawnToken> draw(const at::Tensor& logits, int64_t first,
                                      const std::vector<cpu::RowDraw>& draws,
                                      const at::Tensor& uniforms);
    /// Reads back what was drawn, as of grpo::draw(), or what `again` draws where candidates were
    /// too few.
    std::vector<cpu::DrawnToken> read(const at::Tensor& drawn, int64_t count,
                                      const std::function<at::Tensor()>& again);
    void add_likeliest(const at::Tensor& logits, const std::vector<cpu::RowDraw>& draws,
                       std::vector<cpu::DrawnToken>& drawn);
    void reserve_positions(int64_t count);

    const Decoder& decoder_;
    ForwardMode mode_;
    RolloutRoom room_;
    bool record_;
    ReadBack& read_back_;
    std::unique_ptr<StepCache> cache_;
    int64_t rows_ = 0;  // that are open
    StackedPairsTable stacked_pairs_;
    RopeTables ropes_;  // of positions 0, 1, ...
    RowMarks marks_;    // [rows, V]
    std::map<DecodeShape, StaticStep> static_steps_;
};

}  // namespace grpo
