// Which tokens may come next in a completion, by what is there so far: transformers' logits
// processors that take tokens out (minimum length, repeated n-grams, bad words, suppressed tokens)
// or leave no others (a forced end). They act after the repetition penalty and before the
// temperature, and do not touch the recorded log-probabilities.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "batch.h"
#include "kernels/row_sampler.h"

namespace grpo {

class TokenRules {
  public:
    /// The drawing outlives it.
    explicit TokenRules(const Drawing& drawing);

    /// Whether there are any.
    bool exist() const { return exist_; }
    /// What holds for the token that follows this prompt and this part of a completion.
    cpu::Restriction after(std::span<const int32_t> prompt,
                           std::span<const int32_t> completion) const;

  private:
    void bar_repeated_ngrams(std::span<const int32_t> context, std::vector<int32_t>& barred) const;
    void bar_bad_words(std::span<const int32_t> context, std::vector<int32_t>& barred) const;

    const Drawing* drawing_;
    bool exist_;
    std::vector<int32_t> forced_;  // those of drawing.forced_eos_tokens that are not suppressed
};

}  // namespace grpo
