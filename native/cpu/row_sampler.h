// Drawing tokens on a CPU: what rollout/sampler.h computes, one row at a time and without sorting.
// Without filters two passes over the logits: their largest, then sums of exponentials block by
// block; the drawn token lies in the one block that the uniform falls into. Top-k and top-p keep
// what lies above a cut that is found by digits of the scores, as a radix sort would, in time
// linear in V.
#pragma once

#include <cstdint>
#include <vector>

#include "batch.h"

namespace grpo::cpu {

struct SamplerRow {
    const float* logits;  // [V]
    const bool* seen;     // [V] tokens so far, with a repetition penalty; or nullptr
    double uniform;       // in [0, 1); unused when greedy
};

struct DrawnToken {
    int32_t id;
    float logprob;  // log softmax(logits / temperature)[id], before any filter
};

class RowSampler {
  public:
    RowSampler(const SampleRequest& request, int64_t vocab_size);

    std::vector<DrawnToken> draw(const std::vector<SamplerRow>& rows);
    /// The distribution that a draw uses: [V].
    std::vector<float> probabilities(const SamplerRow& row);

  private:
    struct Memory {
        std::vector<float> scores;  // [V]
        std::vector<float> terms;   // [V] exp(score - max), 0 where filtered
        std::vector<double> sums;   // of blocks of terms
    };

    DrawnToken draw_row(const SamplerRow& row, Memory& memory) const;
    int64_t draw_unfiltered(const SamplerRow& row, float max, Memory& memory) const;
    /// Penalized and tempered scores in memory.
    void score(const SamplerRow& row, Memory& memory) const;
    /// Fills memory.terms; returns their sum.
    double filter(const SamplerRow& row, Memory& memory) const;
    void keep_top_k(Memory& memory) const;
    double keep_top_p(Memory& memory, double total) const;
    double keep_min_p(Memory& memory) const;

    const SampleRequest& request_;
    int64_t vocab_size_;
    float scale_;  // 1 / temperature
    bool filtered_;
    std::vector<Memory> of_thread_;
};

}  // namespace grpo::cpu
