// Attention of queries on a CPU against keys and values that lie in blocks (head_block.h): those of
// the rows of a decode step, and those of a part of a prompt whose beginning was computed before.
// The plain version is attention by operators (model/decode_attention.h); of whole sequences that
// are computed at once it is attention.h, whose bits these are.
#pragma once

#include <cstdint>

#include "kernels/head_block.h"
#include "kernels/scratch.h"

namespace grpo::cpu {

struct HeadAttention {
    struct Row {
        const float* q;         // [repeats, D]
        float* out;             // [repeats, D]
        const int32_t* blocks;  // of its sequence
        int64_t first, end;     // tokens of the sequence that it sees
    };
    const Row* rows;
    int64_t num_rows;
    int64_t repeats;  // H / K
    HeadLayout layout;
    HeadBlocks memory;
    int64_t shared;  // first blocks that all rows have alike
    float scale;
    float softcap;  // 0: off
};

/// On the calling thread.
void attend(const HeadAttention& call, Scratch& scratch);

}  // namespace grpo::cpu
