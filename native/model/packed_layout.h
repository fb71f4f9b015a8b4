// Prompts and the completions that continue them as flat tokens without padding, each prompt once.
#pragma once

#include <cstdint>
#include <vector>

namespace grpo {

/// The layout of one packed pass. Flat order: all prompt tokens, then all completion tokens.
struct PackedLayout {
    std::vector<int64_t> prompt_lengths;      // [P], each > 0
    std::vector<int64_t> completion_lengths;  // [B] tokens fed, may be 0
    std::vector<int64_t> prompt_of;           // [B]

    int64_t num_prompt_tokens() const;
    int64_t num_completion_tokens() const;
    /// Position of every flat token in its own sequence: [N].
    std::vector<int64_t> positions() const;
};

}  // namespace grpo
