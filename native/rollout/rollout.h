// The rollout: prefill each prompt once, decode all live rows together, let finished rows leave at
// once and waiting prompts take their place, and hand over every group the moment its last
// completion ends. Knows token ids only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "batch.h"
#include "device.h"
#include "kernels/row_sampler.h"
#include "kernels/team.h"
#include "model/decode_attention.h"
#include "model/decoder.h"
#include "rollout/sampler.h"
#include "rollout/step_decoder.h"
#include "rollout/step_graph.h"
#include "rollout/token_rules.h"

namespace grpo {

class Rollout {
  public:
    /// Throws CANCELLED at the next step once `cancelled` says so. `events` are called on this
    /// thread.
    Rollout(const Decoder& decoder, const SampleRequest& request, const ForwardMode& mode,
            ReadBack& read_back, const std::function<bool()>& cancelled, SampleEvents events);
    SampleStats run();

  private:
    struct Row {
        int64_t slot = 0;    // of its prompt
        int64_t sample = 0;  // index in its group
        std::vector<int32_t> ids;
        std::vector<float> logprobs;
        std::string tail;  // its last bytes, where a stop string may have begun
    };
    struct LivePrompt {
        int64_t prompt = 0;
        int64_t unfinished = 0;
        Group group;
        std::vector<std::vector<int32_t>> ids;  // [G]
        std::vector<std::vector<float>> logprobs;
    };

    void prepare_operators(int64_t positions);
    void check_cancelled() const;
    void admit();
    std::vector<int64_t> choose_prompts() const;
    void prefill(const std::vector<int64_t>& prompts);
    void decode();
    /// One step by the kernels of the CPU.
    void decode_in_loops(const DecodeRows& rows);
    /// One step by operators, in the tensors of a shape that may be larger than the rows need.
    void decode_by_operators(const DecodeRows& rows);
    DecodeRows decode_rows() const;
    DecodeShape shape_of(const DecodeRows& rows) const;
    /// One step from the inputs to what was drawn: [2, n] fp64, tokens and their log-probabilities.
    at::Tensor step(const DecodeInputs& inputs);
    cpu::Restriction restriction(const Row& row) const;
    /// Writes what restricts the next tokens of rows first, first + 1, ... where operators find it.
    void mark_restrictions(size_t first);
    /// Reads back what was drawn, [2, rows], for rows first, first + 1, ...
    void take(size_t first, const at::Tensor& drawn, int64_t count);
    /// Draws the next token of rows first, first + 1, ... of a CPU from the logits of each.
    void draw(size_t first, const std::vector<const float*>& logits);
    /// Retires those of the rows first..n-1 that the token just drawn ends.
    void advance(size_t first);
    /// Whether the row's last token ends it, and why.
    std::optional<Finish> ending(Row& row) const;
    bool completes_stop_string(Row& row) const;
    void report_tokens(size_t first) const;
    void retire(size_t row, Finish finish);
    void complete_group(int64_t slot);
    double uniform(const Row& row) const;

    const Decoder& decoder_;
    const SampleRequest& request_;
    ForwardMode mode_;
    ReadBack& read_back_;
    const std::function<bool()>& cancelled_;
    SampleEvents events_;
    std::vector<bool> is_stop_;  // [V]
    size_t longest_stop_ = 0;    // bytes
    int64_t max_rows_ = 0;
    int64_t max_prompts_ = 0;
    std::unique_ptr<RolloutCache> cache_;
    KvCache* tensors_ = nullptr;  // the cache, where operators decode
    // What takes the place of the decoder's operators and of the sampler's on CPUs.
    std::unique_ptr<cpu::Team> team_;
    std::unique_ptr<StepDecoder> step_decoder_;
    std::unique_ptr<cpu::RowSampler> row_sampler_;
    TokenRules rules_;
    RowMarks marks_;  // [max_rows, V]
    // Otherwise:
    StackedPairsTable stacked_pairs_;
    RopeTables ropes_;  // of all positions
    /// A decode step whose tensors stay where they are.
    struct StaticStep {
        DecodeInputs inputs;
        at::Tensor drawn;                  // as of step()
        std::unique_ptr<StepGraph> graph;  // where the device has graphs
    };
    std::map<DecodeShape, StaticStep> static_steps_;
    std::vector<Row> rows_;
    std::vector<LivePrompt> live_;
    int64_t next_prompt_ = 0;
    SampleStats stats_;
};

}  // namespace grpo
