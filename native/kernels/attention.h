// Attention over segments on a CPU: a block of queries against the keys of a prompt, which all of
// them see, and each of its spans against its own keys, causally. The scores of a block are
// products of gemm.h in memory of one thread, and the backward computes them again. A query's bits
// are those of decode_attention.h for the same keys: scores, softmax and sums take the same order,
// and values are paired by their place in the sequence, wherever the prompt ends.
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
    int64_t width() const;  // most keys of a query
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

/// Fills out [N, H, D] and log_sum [N, H] = log Σ exp(scores).
void attend(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
            const float* q, const float* k, const float* v, float* out, float* log_sum);

struct AttentionGradients {
    float* q;      // [N, H, D]
    float *k, *v;  // [N, K, D]
};
/// Sets q's gradient, adds to those of k and v.
void attend_backward(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
                     const float* q, const float* k, const float* v, const float* log_sum,
                     const float* dout, const AttentionGradients& gradients);

}  // namespace grpo::cpu
