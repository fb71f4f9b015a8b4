// How much the engine holds at a time, where memory would else grow with the input. (Not called
// limits.h, which the compiler would find in place of the C library's.)
// lib/model/memory.ts estimates with the same numbers; test/addon/boundary.test.ts compares.
#pragma once

#include <cstdint>

namespace grpo {

struct Limits {
    int64_t pass_tokens = 8192;                  // of one pass without gradients
    int64_t prompts_per_full_group = 2;          // in the cache, for each group that is decoded
    int64_t block_tokens = 64;                   // of a sequence in the memory of a CPU
    int64_t page_tokens = 256;                   // the same on an accelerator, whose kernels take
                                                 // multiples of it
    int64_t logit_rows = 48;                     // rows on a CPU whose logits are held at a time
    int64_t chunk_elements = int64_t{32} << 20;  // logits of one chunk in training: 128 MiB in fp32
    int64_t device_chunk_elements = int64_t{128} << 20;  // the same on an accelerator, which small
                                                         // kernels leave idle: 512 MiB in fp32
    int64_t widened_elements = int64_t{4} << 20;  // of a weight that a pass in a wider type needs:
                                                  // 16 MiB in fp32, which a last cache holds
    int64_t step_elements = int64_t{64} << 20;    // that the temporary of an optimizer step covers

    static void fields(auto& self, auto& field) {
        field("passTokens", self.pass_tokens);
        field("promptsPerFullGroup", self.prompts_per_full_group);
        field("blockTokens", self.block_tokens);
        field("pageTokens", self.page_tokens);
        field("logitRows", self.logit_rows);
        field("chunkElements", self.chunk_elements);
        field("deviceChunkElements", self.device_chunk_elements);
        field("widenedElements", self.widened_elements);
        field("stepElements", self.step_elements);
    }
};
constexpr Limits kLimits;

}  // namespace grpo
