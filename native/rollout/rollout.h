// The rollout: prompts are computed once, all live rows are decoded together, finished rows leave
// at once and waiting prompts take their place. Prompts may enter and leave at any time; tokens are
// told as they are drawn, and groups the moment their last completion ends. Knows token ids only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "batch.h"
#include "model/decoder.h"
#include "rollout/decoding.h"
#include "rollout/token_rules.h"

namespace grpo {

/// A prompt, and how its completions are drawn.
struct Prompt {
    int64_t index = 0;  // what events call it
    int64_t owner = 0;
    std::vector<int32_t> ids;
    uint32_t key = 0;  // in the random streams
    int64_t group_size = 1;
    int64_t top_logprobs = 0;
    std::shared_ptr<const Drawing> drawing;
};

/// The ids that a completion of a prompt may go on with, as cpu::Restriction::allowed; waits until
/// that is known.
using Allowed = std::function<std::vector<int32_t>(int64_t prompt, int64_t sample)>;

class Rollout {
  public:
    /// Prompts are computed in parts of so many tokens between two steps; 0: all that fit first.
    /// `events` are called on this thread, as is `allowed` for completions that are constrained.
    Rollout(const Decoder& decoder, const ForwardMode& mode, Decoding& decoding,
            const RolloutRoom& room, int64_t part_tokens, SampleEvents events,
            Allowed allowed = nullptr);

    /// The prompt waits for its turn.
    void enter(Prompt prompt);
    /// All completions of the prompt end here, without an event.
    void leave(int64_t index);
    /// Whether nothing is left to do.
    bool idle() const { return waiting_.empty() && live_.empty(); }
    /// Lets waiting prompts in and computes prompts, or parts of them, then draws the next token of
    /// every row. Without parts it does one or the other: prompts while there are any.
    void step();
    const SampleStats& stats() const { return stats_; }

  private:
    struct Row {
        int64_t slot = 0;    // of its prompt
        int64_t sample = 0;  // index in its group
        std::vector<int32_t> ids;
        std::vector<float> logprobs;
        std::string tail;  // its last bytes, where a stop string may have begun
    };
    /// A prompt in its slot.
    struct LivePrompt {
        std::shared_ptr<const Prompt> prompt;
        TokenRules rules;
        int64_t order = 0;     // in which prompts were opened
        int64_t computed = 0;  // tokens
        int64_t unfinished = 0;
        Group group;
        std::vector<std::vector<int32_t>> ids;  // [G]
        std::vector<std::vector<float>> logprobs;

        int64_t length() const { return static_cast<int64_t>(prompt->ids.size()); }
        int64_t remaining() const { return length() - computed; }
    };

    void admit();
    /// The waiting prompt whose turn it is, where there is room for it.
    std::optional<size_t> next_waiting() const;
    /// Whether another prompt computes what this one begins with.
    bool is_in_the_making(const Prompt& prompt) const;
    void open(const std::shared_ptr<const Prompt>& prompt);

    bool computes_prompts() const;
    std::vector<PromptPart> next_parts() const;
    std::vector<PromptPart> whole_parts() const;
    void compute(const std::vector<PromptPart>& parts);
    /// Opens the rows of prompts that are complete, with their first tokens.
    void begin(const std::vector<int64_t>& slots, const at::Tensor& logits);
    void decode();

    const Prompt& prompt_of(const Row& row) const { return *live_[row.slot].prompt; }
    std::vector<cpu::RowDraw> draws(size_t first) const;
    /// Adds what was drawn to rows first, first + 1, ... and retires those that it ends.
    void advance(size_t first, std::vector<cpu::DrawnToken> drawn);
    /// Whether the row's last token ends it, and why.
    std::optional<Finish> ending(Row& row) const;
    static bool completes_stop_string(Row& row, const Drawing& drawing);
    void report(size_t first, const std::vector<cpu::DrawnToken>& drawn,
                const std::vector<std::optional<Finish>>& endings) const;
    void retire(size_t row, Finish finish);
    void close_row(size_t row);
    void close_prompt(int64_t slot);
    void complete_group(int64_t slot);

    const Decoder& decoder_;
    ForwardMode mode_;
    Decoding& decoding_;
    RolloutRoom room_;
    int64_t part_tokens_;
    SampleEvents events_;
    Allowed allowed_;
    std::deque<std::shared_ptr<const Prompt>> waiting_;
    std::vector<LivePrompt> live_;
    std::vector<Row> rows_;
    int64_t rows_promised_ = 0;  // live ones, and those of prompts that are computed
    int64_t opened_ = 0;
    SampleStats stats_;
};

}  // namespace grpo
