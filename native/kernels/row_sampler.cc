#include "kernels/row_sampler.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/parallel.h"
#include "kernels/row_kernels.h"

namespace grpo::cpu {
namespace {

constexpr int64_t kExpCost = 16;
constexpr int kDigits = 2048;
/// Sums of a digit that are added to in turn: neighbours often have the same digit, and would wait
/// for each other.
constexpr size_t kTurns = 4;

/// Greater floats have greater keys, equal ones the same.
uint32_t key_of(float score) {
    score += 0.0F;  // -0
    uint32_t bits;
    std::memcpy(&bits, &score, sizeof(bits));
    return bits >> 31 ? ~bits : bits | 0x80000000U;
}

float score_of(uint32_t key) {
    const uint32_t bits = key >> 31 ? key & 0x7FFFFFFFU : ~key;
    float score;
    std::memcpy(&score, &bits, sizeof(score));
    return score;
}

double sum_of(const std::vector<double>& sums) {
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

void restrict_to(const Restriction& restriction, std::vector<float>& scores) {
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    if (restriction.only_these) std::fill(scores.begin(), scores.end(), kNever);
    for (const int32_t id : restriction.ids) scores[id] = restriction.only_these ? 0 : kNever;
}

/// The first entry whose cumulative sum is greater than target; the last with mass if none is.
int64_t pick_entry(const float* terms, int64_t size, double cumulative, double target) {
    int64_t last = 0;
    for (int64_t i = 0; i < size; ++i) {
        if (terms[i] <= 0) continue;
        last = i;
        cumulative += terms[i];
        if (cumulative > target) break;
    }
    return last;
}

}  // namespace

RowSampler::RowSampler(const SampleRequest& request, int64_t vocab_size)
    : request_(request),
      vocab_size_(vocab_size),
      scale_(static_cast<float>(1 / request.temperature)),
      filtered_(request.top_p < 1 || request.top_k > 0 || request.min_p > 0),
      of_thread_(at::get_num_threads()) {}

std::vector<DrawnToken> RowSampler::draw(const std::vector<SamplerRow>& rows) {
    std::vector<DrawnToken> drawn(rows.size());
    parallel(static_cast<int64_t>(rows.size()), kExpCost * vocab_size_,
             [&](int64_t begin, int64_t end) {
                 Memory& memory = of_thread_[thread_index()];
                 for (int64_t r = begin; r < end; ++r) drawn[r] = draw_row(rows[r], memory);
             });
    return drawn;
}

DrawnToken RowSampler::draw_row(const SamplerRow& row, Memory& memory) const {
    const float max = row_kernels().max(row.logits, vocab_size_);
    const bool filtered = filtered_ || row.changes_scores();
    const double total = exponentials(row.logits, max, filtered, memory);
    int64_t id = 0;
    if (!request_.do_sample) {
        const float* scores = scores_of(row, memory);
        id = std::max_element(scores, scores + vocab_size_) - scores;
    } else {
        if (filtered) filter(row, memory);
        id = pick(row, max, filtered, memory);
    }
    // Rounded once, at the end, as the score of a token in training is.
    const double above = static_cast<double>(row.logits[id]) - static_cast<double>(max);
    return {static_cast<int32_t>(id), static_cast<float>(above * scale_ - std::log(total))};
}

double RowSampler::exponentials(const float* scores, float max, bool with_terms,
                                Memory& memory) const {
    memory.sums.resize((vocab_size_ + kSumBlock - 1) / kSumBlock);
    if (with_terms) memory.terms.resize(vocab_size_);
    for (size_t b = 0; b < memory.sums.size(); ++b) {
        const int64_t start = static_cast<int64_t>(b) * kSumBlock;
        memory.sums[b] =
            row_kernels().exp_sum(scores + start, std::min(kSumBlock, vocab_size_ - start), max,
                                  scale_, with_terms ? memory.terms.data() + start : nullptr);
    }
    return sum_of(memory.sums);
}

int64_t RowSampler::pick(const SamplerRow& row, float max, bool filtered, Memory& memory) const {
    const double target = row.uniform * sum_of(memory.sums);
    double before = 0;
    int64_t block = 0, last = static_cast<int64_t>(memory.sums.size()) - 1;
    while (block < last && before + memory.sums[block] <= target) before += memory.sums[block++];
    // What rounding lost at the very end: then the last block that has any mass.
    while (block > 0 && memory.sums[block] <= 0) --block;
    const int64_t start = block * kSumBlock, size = std::min(kSumBlock, vocab_size_ - start);
    if (filtered) return start + pick_entry(memory.terms.data() + start, size, before, target);
    float terms[kSumBlock];
    row_kernels().exp_sum(row.logits + start, size, max, scale_, terms);
    return start + pick_entry(terms, size, before, target);
}

void RowSampler::filter(const SamplerRow& row, Memory& memory) const {
    const float* scores = scores_of(row, memory);
    if (row.changes_scores())
        exponentials(scores, row_kernels().max(scores, vocab_size_), true, memory);
    if (request_.top_k > 0 && request_.top_k < vocab_size_) {
        const auto one = [](int32_t) { return 1.0; };
        const Cut cut = find_cut(scores, static_cast<double>(request_.top_k), one, memory);
        keep(scores, cut.score, memory);
    }
    if (request_.top_p < 1) keep_top_p(scores, memory);
    // The likeliest has the term 1.
    if (request_.min_p > 0) keep(memory.terms.data(), static_cast<float>(request_.min_p), memory);
}

const float* RowSampler::scores_of(const SamplerRow& row, Memory& memory) const {
    if (!row.changes_scores()) return row.logits;
    memory.scores.assign(row.logits, row.logits + vocab_size_);
    if (row.seen != nullptr) penalize(row.seen, memory.scores);
    if (row.restriction != nullptr) restrict_to(*row.restriction, memory.scores);
    return memory.scores.data();
}

void RowSampler::penalize(const bool* seen, std::vector<float>& scores) const {
    const double penalty = request_.repetition_penalty;
    const auto factor = static_cast<float>(penalty);
    for (int64_t i = 0; i < vocab_size_; ++i) {
        // Less likely whatever the sign of the score.
        if (!seen[i]) continue;
        const float product = scores[i] * factor, quotient = scores[i] / factor;
        scores[i] = penalty > 1 ? std::min(product, quotient) : std::max(product, quotient);
    }
}

template <typename Mass>
RowSampler::Cut RowSampler::find_cut(const float* scores, double target, const Mass& mass,
                                     Memory& memory) const {
    std::vector<int32_t>& equal = memory.equal;
    equal.resize(vocab_size_);
    std::iota(equal.begin(), equal.end(), 0);
    uint32_t cut = 0;
    double reached = 0;
    int shift = 32;
    for (const int bits : {11, 11, 10}) {  // each pass settles one digit
        shift -= bits;
        const auto digit_of = [&](int32_t i) { return (key_of(scores[i]) >> shift) % kDigits; };
        std::array<std::array<double, kTurns>, kDigits> sums{};
        for (size_t j = 0; j < equal.size(); ++j)
            sums[digit_of(equal[j])][j % kTurns] += mass(equal[j]);
        uint32_t chosen = 0;
        double before = reached;
        for (uint32_t digit = kDigits; digit-- > 0;) {
            const auto& parts = sums[digit];
            const double sum = (parts[0] + parts[1]) + (parts[2] + parts[3]);
            if (sum <= 0) continue;
            chosen = digit;
            reached = before;
            before += sum;
            if (before >= target) break;
        }
        cut |= chosen << shift;
        size_t left = 0;
        for (const int32_t i : equal) {
            equal[left] = i;
            left += digit_of(i) == chosen ? 1 : 0;
        }
        equal.resize(left);
    }
    return {score_of(cut), reached};
}

void RowSampler::keep_top_p(const float* scores, Memory& memory) const {
    std::vector<float>& terms = memory.terms;
    const double target = request_.top_p * sum_of(memory.sums);
    const auto term_of = [&](int32_t i) { return static_cast<double>(terms[i]); };
    const Cut cut = find_cut(scores, target, term_of, memory);
    // Several scores may be equal to the cut: as many of them stay as are needed, the last ones.
    double mass = cut.before;
    for (size_t j = memory.equal.size(); j-- > 0;) {
        float& term = terms[memory.equal[j]];
        if (mass >= target) term = 0;
        mass += term;
    }
    keep(scores, cut.score, memory);
}

void RowSampler::keep(const float* scores, float least, Memory& memory) const {
    for (size_t b = 0; b < memory.sums.size(); ++b) {
        const int64_t start = static_cast<int64_t>(b) * kSumBlock;
        memory.sums[b] =
            row_kernels().keep(scores + start, least, std::min(kSumBlock, vocab_size_ - start),
                               memory.terms.data() + start);
    }
}

std::vector<float> RowSampler::probabilities(const SamplerRow& row) {
    Memory& memory = of_thread_[0];
    exponentials(row.logits, row_kernels().max(row.logits, vocab_size_), true, memory);
    filter(row, memory);
    const auto total = static_cast<float>(sum_of(memory.sums));
    std::vector<float> result = memory.terms;
    for (float& probability : result) probability /= total;
    return result;
}

}  // namespace grpo::cpu
