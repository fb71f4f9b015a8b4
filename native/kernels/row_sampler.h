// Drawing tokens on a CPU: what rollout/sampler.h computes, one row at a time and without sorting.
// Two passes over the logits: their largest, then sums of exponentials block by block; the drawn
// token lies in the one block that the uniform falls into. Top-k and top-p keep what lies above a
// cut that is found by digits of the scores, as a radix sort would, in time linear in V.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "batch.h"

namespace grpo::cpu {

/// What may be drawn whatever its score.
struct Restriction {
    std::vector<int32_t> ids;
    bool only_these = false;  // true: nothing else, and these alike; false: none of these
    /// [V / 32, rounded up] a bit for every id, from the lowest on: 1: it may be drawn. Empty: all.
    std::vector<int32_t> allowed;

    bool exists() const { return only_these || !ids.empty() || !allowed.empty(); }
    bool allows(int64_t id) const {
        return allowed.empty() || (static_cast<uint32_t>(allowed[id / 32]) >> id % 32 & 1) != 0;
    }
};

/// What the draw of one token depends on.
struct RowDraw {
    const Drawing* drawing;
    double uniform;  // in [0, 1); unused when greedy
    Restriction restriction;
    /// Tokens so far, which a repetition penalty asks for.
    std::span<const int32_t> prompt, completion;
    int64_t top_logprobs = 0;
};

struct TokenLogprob {
    int32_t id;
    float logprob;  // log softmax(logits / temperature)[id], before any filter
};

struct DrawnToken : TokenLogprob {
    std::vector<TokenLogprob> top;  // the likeliest tokens, likeliest first
};

class RowSampler {
  public:
    explicit RowSampler(int64_t vocab_size);

    /// logits: [V] of each row.
    std::vector<DrawnToken> draw(const std::vector<const float*>& logits,
                                 const std::vector<RowDraw>& rows);
    /// The distribution that a draw uses: [V].
    std::vector<float> probabilities(const float* logits, const RowDraw& row);

  private:
    struct Memory {
        std::vector<float> scores;   // [V] where a row changes its logits
        std::vector<float> terms;    // [V] exp((score - max) / temperature), 0 where filtered
        std::vector<double> sums;    // of blocks of terms
        std::vector<int32_t> equal;  // scores that are not told apart yet
    };
    /// Going down the scores, where the mass of their entries reaches a target.
    struct Cut {
        float score;    // the last one that is reached
        double before;  // mass of all greater ones
    };

    DrawnToken draw_row(const float* logits, const RowDraw& row, Memory& memory) const;
    /// Fills memory.sums, and memory.terms where asked for; returns the sum of all.
    double exponentials(const float* scores, float max, float scale, bool with_terms,
                        Memory& memory) const;
    /// Takes from memory.terms and memory.sums what the filters leave out.
    void filter(const float* logits, const RowDraw& row, Memory& memory) const;
    /// The logits, or what the repetition penalty and a restriction make of them: [V].
    const float* scores_of(const float* logits, const RowDraw& row, Memory& memory) const;
    /// `mass(i)` is that of entry i, 0 for those that are out.
    template <typename Mass>
    Cut find_cut(const float* scores, double target, const Mass& mass, Memory& memory) const;
    void keep_top_p(const float* scores, double p, Memory& memory) const;
    /// Leaves out what has a score below `least`.
    void keep(const float* scores, float least, Memory& memory) const;
    int64_t pick(const float* logits, const RowDraw& row, float max, bool filtered,
                 Memory& memory) const;

    int64_t vocab_size_;
    std::vector<Memory> of_thread_;
};

}  // namespace grpo::cpu
