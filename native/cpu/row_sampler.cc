#include "cpu/row_sampler.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "cpu/kernels.h"
#include "cpu/parallel.h"

namespace grpo::cpu {
namespace {

constexpr int64_t kBlock = 512;  // terms whose sum is one entry
constexpr int64_t kExpCost = 16;
constexpr float kNever = -std::numeric_limits<float>::infinity();

/// Greater floats have greater keys.
uint32_t key_of(float score) {
    uint32_t bits;
    std::memcpy(&bits, &score, sizeof(bits));
    return bits >> 31 ? ~bits : bits | 0x80000000U;
}

struct Cut {
    uint32_t key;   // of the last score that is reached
    double before;  // mass of all greater ones
};

/// Going down the scores, where the mass reaches `target`. `mass(i)` is that of entry i, 0 for
/// those that are out. Each pass settles one digit of the key.
template <typename Mass>
Cut find_cut(const std::vector<float>& scores, double target, Mass mass) {
    Cut cut{0, 0};
    int settled = 0;
    for (const int bits : {11, 11, 10}) {
        const int shift = 32 - settled - bits;
        std::array<double, 2048> digits{};
        for (size_t i = 0; i < scores.size(); ++i) {
            const uint32_t key = key_of(scores[i]);
            if (settled == 0 || (key ^ cut.key) >> (32 - settled) == 0)
                digits[(key >> shift) & ((1U << bits) - 1)] += mass(i);
        }
        uint32_t chosen = 0;
        double before = cut.before;
        for (uint32_t digit = 1U << bits; digit-- > 0;) {
            if (digits[digit] <= 0) continue;
            chosen = digit;
            cut.before = before;
            before += digits[digit];
            if (before >= target) break;
        }
        cut.key |= chosen << shift;
        settled += bits;
    }
    return cut;
}

/// The first entry whose cumulative sum is greater than target; the last with mass if none is.
int64_t pick(const float* terms, int64_t size, double cumulative, double target) {
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
      filtered_(request.top_p < 1 || request.top_k > 0 || request.min_p > 0 ||
                request.repetition_penalty != 1),
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
    const Kernels& run = kernels();
    const float max = run.max(row.logits, vocab_size_);
    const int64_t blocks = (vocab_size_ + kBlock - 1) / kBlock;
    memory.sums.resize(blocks);
    for (int64_t b = 0; b < blocks; ++b) {
        memory.sums[b] =
            run.exp_sum(row.logits + b * kBlock, std::min(kBlock, vocab_size_ - b * kBlock), max,
                        scale_, nullptr);
    }
    int64_t id = 0;
    const double total = std::accumulate(memory.sums.begin(), memory.sums.end(), 0.0);
    if (!request_.do_sample) {
        const float* scores = row.logits;
        if (row.seen != nullptr) {
            score(row, memory);
            scores = memory.scores.data();
        }
        id = std::max_element(scores, scores + vocab_size_) - scores;
    } else if (filtered_) {
        const double mass = filter(row, memory);
        id = pick(memory.terms.data(), vocab_size_, 0, row.uniform * mass);
    } else {
        id = draw_unfiltered(row, max, memory);
    }
    const float logprob = (row.logits[id] - max) * scale_ - static_cast<float>(std::log(total));
    return {static_cast<int32_t>(id), logprob};
}

int64_t RowSampler::draw_unfiltered(const SamplerRow& row, float max, Memory& memory) const {
    const double target =
        row.uniform * std::accumulate(memory.sums.begin(), memory.sums.end(), 0.0);
    double before = 0;
    int64_t block = 0, last = static_cast<int64_t>(memory.sums.size()) - 1;
    while (block < last && before + memory.sums[block] <= target) before += memory.sums[block++];
    // What rounding lost at the very end: then the last block that has any mass.
    while (block > 0 && memory.sums[block] <= 0) --block;
    float terms[kBlock];
    const int64_t start = block * kBlock, size = std::min(kBlock, vocab_size_ - start);
    kernels().exp_sum(row.logits + start, size, max, scale_, terms);
    return start + pick(terms, size, before, target);
}

void RowSampler::score(const SamplerRow& row, Memory& memory) const {
    const double penalty = request_.repetition_penalty;
    const auto factor = static_cast<float>(penalty);
    const float scale = request_.do_sample ? scale_ : 1.0F;
    memory.scores.assign(row.logits, row.logits + vocab_size_);
    for (int64_t i = 0; i < vocab_size_ && row.seen != nullptr; ++i) {
        // Less likely whatever the sign of the score.
        if (!row.seen[i]) continue;
        const float product = memory.scores[i] * factor, quotient = memory.scores[i] / factor;
        memory.scores[i] = penalty > 1 ? std::min(product, quotient) : std::max(product, quotient);
    }
    if (scale == 1) return;
    for (float& score : memory.scores) score *= scale;
}

double RowSampler::filter(const SamplerRow& row, Memory& memory) const {
    score(row, memory);
    if (request_.top_k > 0) keep_top_k(memory);
    memory.terms.resize(vocab_size_);
    const float max = kernels().max(memory.scores.data(), vocab_size_);
    double total =
        kernels().exp_sum(memory.scores.data(), vocab_size_, max, 1.0F, memory.terms.data());
    if (request_.top_p < 1) total = keep_top_p(memory, total);
    if (request_.min_p > 0) total = keep_min_p(memory);
    return total;
}

void RowSampler::keep_top_k(Memory& memory) const {
    if (request_.top_k >= vocab_size_) return;
    const Cut cut =
        find_cut(memory.scores, static_cast<double>(request_.top_k), [](size_t) { return 1.0; });
    for (float& score : memory.scores) {
        if (key_of(score) < cut.key) score = kNever;
    }
}

double RowSampler::keep_top_p(Memory& memory, double total) const {
    std::vector<float>& terms = memory.terms;
    const double target = request_.top_p * total;
    const Cut cut = find_cut(memory.scores, target, [&](size_t i) { return terms[i]; });
    // Of equal scores at the cut, only as many as are needed: the last ones.
    double mass = cut.before;
    int64_t kept = 0;
    for (int64_t i = vocab_size_; i-- > 0;) {
        const uint32_t key = key_of(memory.scores[i]);
        if (key > cut.key) continue;
        if (key == cut.key && (kept == 0 || mass < target)) {
            mass += terms[i];
            ++kept;
        } else {
            terms[i] = 0;
        }
    }
    return mass;
}

double RowSampler::keep_min_p(Memory& memory) const {
    // The likeliest has the term 1.
    const auto least = static_cast<float>(request_.min_p);
    double total = 0;
    for (float& term : memory.terms) {
        if (term < least) term = 0;
        total += term;
    }
    return total;
}

std::vector<float> RowSampler::probabilities(const SamplerRow& row) {
    Memory& memory = of_thread_[0];
    const auto total = static_cast<float>(filter(row, memory));
    std::vector<float> result = memory.terms;
    for (float& probability : result) probability /= total;
    return result;
}

}  // namespace grpo::cpu
