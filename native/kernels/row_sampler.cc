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

constexpr float kNever = -std::numeric_limits<float>::infinity();

void restrict_to(const Restriction& restriction, std::vector<float>& scores) {
    if (restriction.only_these) std::fill(scores.begin(), scores.end(), kNever);
    for (const int32_t id : restriction.ids) scores[id] = restriction.only_these ? 0 : kNever;
    if (restriction.allowed.empty()) return;
    for (size_t id = 0; id < scores.size(); ++id) {
        if (!restriction.allows(static_cast<int64_t>(id))) scores[id] = kNever;
    }
}

float scale_of(const Drawing& drawing) { return static_cast<float>(1 / drawing.temperature); }

bool changes_scores(const RowDraw& row) {
    return row.drawing->repetition_penalty != 1 || row.restriction.exists();
}

/// Less likely whatever the sign of the score.
void penalize(const RowDraw& row, const float* logits, std::vector<float>& scores) {
    const double penalty = row.drawing->repetition_penalty;
    const auto factor = static_cast<float>(penalty);
    for (const std::span<const int32_t> ids : {row.prompt, row.completion}) {
        for (const int32_t id : ids) {
            // From the logits: a token that comes twice is penalized once.
            const float product = logits[id] * factor, quotient = logits[id] / factor;
            scores[id] = penalty > 1 ? std::min(product, quotient) : std::max(product, quotient);
        }
    }
}

/// The likeliest ids, likeliest first, of several alike the first.
std::vector<int32_t> likeliest(const float* logits, int64_t size, int64_t count) {
    std::vector<int32_t> ids(size);
    std::iota(ids.begin(), ids.end(), 0);
    const auto end = ids.begin() + std::min(count, size);
    std::partial_sort(ids.begin(), end, ids.end(), [&](int32_t a, int32_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    ids.erase(end, ids.end());
    return ids;
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

RowSampler::RowSampler(int64_t vocab_size)
    : vocab_size_(vocab_size), of_thread_(at::get_num_threads()) {}

std::vector<DrawnToken> RowSampler::draw(const std::vector<const float*>& logits,
                                         const std::vector<RowDraw>& rows) {
    std::vector<DrawnToken> drawn(rows.size());
    parallel(static_cast<int64_t>(rows.size()), kExpCost * vocab_size_,
             [&](int64_t begin, int64_t end) {
                 Memory& memory = of_thread_[thread_index()];
                 for (int64_t r = begin; r < end; ++r)
                     drawn[r] = draw_row(logits[r], rows[r], memory);
             });
    return drawn;
}

DrawnToken RowSampler::draw_row(const float* logits, const RowDraw& row, Memory& memory) const {
    const Drawing& drawing = *row.drawing;
    const float max = row_kernels().max(logits, vocab_size_), scale = scale_of(drawing);
    const bool filtered =
        drawing.top_p < 1 || drawing.top_k > 0 || drawing.min_p > 0 || changes_scores(row);
    const double total = exponentials(logits, max, scale, filtered, memory);
    int64_t drawn = 0;
    if (!drawing.do_sample) {
        const float* scores = scores_of(logits, row, memory);
        drawn = std::max_element(scores, scores + vocab_size_) - scores;
    } else {
        if (filtered) filter(logits, row, memory);
        drawn = pick(logits, row, max, filtered, memory);
    }
    const auto token = [&](int64_t id) -> TokenLogprob {
        // Rounded once, at the end, as the score of a token in training is.
        const double above = static_cast<double>(logits[id]) - static_cast<double>(max);
        return {static_cast<int32_t>(id), static_cast<float>(above * scale - std::log(total))};
    };
    DrawnToken result{token(drawn), {}};
    if (row.top_logprobs > 0) {
        for (const int32_t id : likeliest(logits, vocab_size_, row.top_logprobs))
            result.top.push_back(token(id));
    }
    return result;
}

double RowSampler::exponentials(const float* scores, float max, float scale, bool with_terms,
                                Memory& memory) const {
    memory.sums.resize((vocab_size_ + kSumBlock - 1) / kSumBlock);
    if (with_terms) memory.terms.resize(vocab_size_);
    for (size_t b = 0; b < memory.sums.size(); ++b) {
        const int64_t start = static_cast<int64_t>(b) * kSumBlock;
        memory.sums[b] =
            row_kernels().exp_sum(scores + start, std::min(kSumBlock, vocab_size_ - start), max,
                                  scale, with_terms ? memory.terms.data() + start : nullptr);
    }
    return sum_of(memory.sums);
}

int64_t RowSampler::pick(const float* logits, const RowDraw& row, float max, bool filtered,
                         Memory& memory) const {
    const double target = row.uniform * sum_of(memory.sums);
    double before = 0;
    int64_t block = 0, last = static_cast<int64_t>(memory.sums.size()) - 1;
    while (block < last && before + memory.sums[block] <= target) before += memory.sums[block++];
    // What rounding lost at the very end: then the last block that has any mass.
    while (block > 0 && memory.sums[block] <= 0) --block;
    const int64_t start = block * kSumBlock, size = std::min(kSumBlock, vocab_size_ - start);
    if (filtered) return start + pick_entry(memory.terms.data() + start, size, before, target);
    float terms[kSumBlock];
    row_kernels().exp_sum(logits + start, size, max, scale_of(*row.drawing), terms);
    return start + pick_entry(terms, size, before, target);
}

void RowSampler::filter(const float* logits, const RowDraw& row, Memory& memory) const {
    const Drawing& drawing = *row.drawing;
    const float* scores = scores_of(logits, row, memory);
    if (changes_scores(row))
        exponentials(scores, row_kernels().max(scores, vocab_size_), scale_of(drawing), true,
                     memory);
    if (drawing.top_k > 0 && drawing.top_k < vocab_size_) {
        const auto one = [](int32_t) { return 1.0; };
        const Cut cut = find_cut(scores, static_cast<double>(drawing.top_k), one, memory);
        keep(scores, cut.score, memory);
    }
    if (drawing.top_p < 1) keep_top_p(scores, drawing.top_p, memory);
    // The likeliest has the term 1.
    if (drawing.min_p > 0) keep(memory.terms.data(), static_cast<float>(drawing.min_p), memory);
}

const float* RowSampler::scores_of(const float* logits, const RowDraw& row, Memory& memory) const {
    if (!changes_scores(row)) return logits;
    memory.scores.assign(logits, logits + vocab_size_);
    if (row.drawing->repetition_penalty != 1) penalize(row, logits, memory.scores);
    restrict_to(row.restriction, memory.scores);
    return memory.scores.data();
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

void RowSampler::keep_top_p(const float* scores, double p, Memory& memory) const {
    std::vector<float>& terms = memory.terms;
    const double target = p * sum_of(memory.sums);
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

std::vector<float> RowSampler::probabilities(const float* logits, const RowDraw& row) {
    Memory& memory = of_thread_[0];
    exponentials(logits, row_kernels().max(logits, vocab_size_), scale_of(*row.drawing), true,
                 memory);
    filter(logits, row, memory);
    const auto total = static_cast<float>(sum_of(memory.sums));
    std::vector<float> result = memory.terms;
    for (float& probability : result) probability /= total;
    return result;
}

}  // namespace grpo::cpu
