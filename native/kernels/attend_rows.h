// Attention of a decode step on a CPU: the queries of several rows of one key head, all of one
// prompt, against that prompt's keys and each against its own. The plain version is attention by
// operators (model/decode_attention.h); of a whole sequence at once it is attention.h.
#pragma once

#include <cstdint>

#include "kernels/head_cache.h"
#include "kernels/scratch.h"

namespace grpo::cpu {

/// A row's own tokens begin at an even place of the sequence, so that values are paired as they are
/// where the sequence is read as a whole: a prompt of odd length lends them its last token.
struct HeadAttention {
    struct Row {
        const float* q;        // [repeats, D]
        float* out;            // [repeats, D]
        const uint32_t* keys;  // own
        const uint32_t* values;
        int64_t own;    // tokens of its own so far
        int64_t first;  // of the whole sequence, the first token that is seen
    };
    const Row* rows;
    int64_t num_rows;
    int64_t repeats;  // H / K
    HeadLayout layout;
    const uint32_t* prompt_keys;
    const uint32_t* prompt_values;
    int64_t prompt;  // even
    float scale;
    float softcap;  // 0: off
};

/// On the calling thread.
void attend(const HeadAttention& call, Scratch& scratch);

}  // namespace grpo::cpu
