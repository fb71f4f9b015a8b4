// What attention over segments is computed of: blocks of queries, and the sizes of q, k and v.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/gemm.h"

namespace grpo::cpu {

/// Rows of q and k are flat tokens.
struct AttentionBlock {
    /// Queries of one sequence, which begins at the token `start`.
    struct Span {
        int64_t start, first, count;
        int64_t keys() const { return first + count - start; }
    };
    int64_t first, count;  // queries
    int64_t prompt_start, prompt_length;
    std::vector<Span> spans;

    int64_t keys_of(const Span& span) const { return prompt_length + span.keys(); }
    /// Most keys of a query.
    int64_t width() const {
        int64_t most = 0;
        for (const Span& span : spans) most = std::max(most, keys_of(span));
        return most;
    }
};

/// Queries that a block may have whose widest sees `keys` keys, with `repeats` rows each: enough to
/// use what is read, few enough for their scores to stay in the caches, and whole tiles of rows.
inline int64_t block_queries(int64_t keys, int64_t repeats) {
    constexpr int64_t kScores = int64_t{1} << 19, kLeast = 24, kMost = 120, kTile = 12;
    const int64_t queries = std::clamp(kScores / keys, kLeast, kMost) / repeats;
    const int64_t whole = kTile / std::gcd(kTile, repeats);
    return std::max(queries / whole, int64_t{1}) * whole;
}

/// Blocks that share no key with those of another family.
using AttentionFamily = std::vector<AttentionBlock>;

/// q, out and log_sum [N, H, ..], k and v [N, K, ..]; contiguous, D numbers a head.
struct AttentionShape {
    int64_t heads, kv_heads, head_dim;
    double scale;
    double softcap;  // 0: off
    int64_t window;  // keys that a query sees at most, its own included; 0: all
    Storage storage;

    int64_t repeats() const { return heads / kv_heads; }
};

}  // namespace grpo::cpu
