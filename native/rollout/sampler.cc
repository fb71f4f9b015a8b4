#include "rollout/sampler.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "device.h"

namespace grpo {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr int64_t kCandidates = 1024;
constexpr double kWhole = double(int64_t{1} << 60);  // all mass together, in whole numbers

/// Sums of the masses of tokens 0, 1, ...: [n, V]. In float64, since in fp32 the tail of a large
/// vocabulary would be unreachable; on an accelerator in whole numbers, because its scan of others
/// adds them in no fixed order.
at::Tensor cumulative_mass(const at::Tensor& scores) {
    const at::Tensor mass = scores.softmax(-1);
    if (mass.is_cpu()) return mass.cumsum(-1, at::kDouble);
    return (mass * kWhole).to(at::kLong).cumsum(-1);
}

at::Tensor keep_top_k(const at::Tensor& scores, int64_t k) {
    const int64_t kept = std::min(k, scores.size(-1));
    const at::Tensor smallest = std::get<0>(scores.topk(kept, -1)).narrow(-1, kept - 1, 1);
    return scores.masked_fill(scores < smallest, kNever);
}

/// The smallest set of likeliest tokens whose mass reaches p (Holtzman et al. 2020).
at::Tensor keep_top_p(const at::Tensor& scores, double p) {
    const auto [sorted, order] = scores.sort(-1, /*descending=*/false);
    at::Tensor removed = sorted.is_cpu() ? sorted.softmax(-1).cumsum(-1) <= 1 - p
                                         : cumulative_mass(sorted) <= (1 - p) * kWhole;
    removed.narrow(-1, removed.size(-1) - 1, 1).fill_(false);
    return scores.masked_fill(at::zeros_like(removed).scatter_(-1, order, removed), kNever);
}

/// The same among the likeliest kCandidates tokens, without sorting the vocabulary; `missing` [n]:
/// what they lack of p, in whole numbers, or less than nothing.
at::Tensor keep_top_p_of_candidates(const at::Tensor& scores, double p, at::Tensor& missing) {
    const auto [values, ids] = scores.log_softmax(-1).topk(kCandidates, -1);
    const at::Tensor mass = values.exp().mul_(kWhole).to(at::kLong);
    const at::Tensor cumulative = mass.cumsum(-1);
    missing = at::rsub(cumulative.select(-1, values.size(-1) - 1), p * kWhole);
    const at::Tensor kept = values.masked_fill(cumulative - mass >= p * kWhole, kNever);
    return at::full_like(scores, kNever).scatter_(-1, ids, kept);
}

/// Tokens at least `ratio` times as likely as the likeliest (Nguyen et al. 2024).
at::Tensor keep_min_p(const at::Tensor& scores, double ratio) {
    const at::Tensor threshold = scores.amax(-1, /*keepdim=*/true) + std::log(ratio);
    return scores.masked_fill(scores < threshold, kNever);
}

/// Seen tokens become less likely whatever the sign of their score (Keskar et al. 2019).
at::Tensor penalize(const at::Tensor& logits, const at::Tensor& seen, double penalty) {
    const at::Tensor factor = at::ones_like(logits).masked_fill_(seen, penalty);
    const at::Tensor product = logits * factor, quotient = logits / factor;
    return penalty > 1 ? at::minimum(product, quotient) : at::maximum(product, quotient);
}

}  // namespace

RowMarks RowMarks::narrow(int64_t first, int64_t count) const {
    const auto part = [&](const at::Tensor& all) {
        return all.defined() ? all.narrow(0, first, count) : at::Tensor();
    };
    return {.seen = part(seen), .replacement = part(replacement)};
}

void write_restriction(const cpu::Restriction& restriction, const at::Tensor& row) {
    row.fill_(restriction.only_these ? kNever : std::numeric_limits<double>::quiet_NaN());
    std::vector<int64_t> ids(restriction.ids.begin(), restriction.ids.end());
    for (int64_t id = 0; id < row.size(0) && !restriction.allowed.empty(); ++id) {
        if (!restriction.allows(id)) ids.push_back(id);
    }
    if (ids.empty()) return;
    row.index_fill_(0, to_device(ids, row.device()), restriction.only_these ? 0 : kNever);
}

bool draws_from_candidates(const at::Tensor& logits, const Drawing& drawing) {
    return drawing.do_sample && drawing.top_p < 1 && !logits.is_cpu() &&
           logits.size(-1) > kCandidates;
}

at::Tensor process_logits(const at::Tensor& logits, const RowMarks& marks, const Drawing& drawing,
                          at::Tensor* missing) {
    at::Tensor scores = logits;
    if (marks.seen.defined()) scores = penalize(scores, marks.seen, drawing.repetition_penalty);
    if (marks.replacement.defined())
        scores = at::where(marks.replacement.isnan(), scores, marks.replacement);
    if (!drawing.do_sample) return scores;
    if (drawing.temperature != 1) scores = scores / drawing.temperature;
    if (drawing.top_k > 0) scores = keep_top_k(scores, drawing.top_k);
    if (drawing.top_p < 1) {
        scores = missing ? keep_top_p_of_candidates(scores, drawing.top_p, *missing)
                         : keep_top_p(scores, drawing.top_p);
    }
    if (drawing.min_p > 0) scores = keep_min_p(scores, drawing.min_p);
    return scores;
}

at::Tensor draw(const at::Tensor& logits, const RowMarks& marks, const at::Tensor& uniforms,
                const Drawing& drawing, bool of_candidates) {
    at::Tensor missing;
    const at::Tensor scores =
        process_logits(logits, marks, drawing, of_candidates ? &missing : nullptr);
    at::Tensor tokens;
    if (drawing.do_sample) {
        // The first token whose cumulative mass exceeds the target. A token without mass adds
        // nothing, so it is never the first past the target.
        const at::Tensor cumulative = cumulative_mass(scores);
        const at::Tensor total = cumulative.narrow(-1, cumulative.size(-1) - 1, 1);
        tokens =
            (cumulative <= uniforms.unsqueeze(1) * total).sum(-1).clamp_max(scores.size(-1) - 1);
    } else {
        tokens = scores.argmax(-1);
    }
    const at::Tensor scaled = drawing.temperature == 1 ? logits : logits / drawing.temperature;
    const at::Tensor logprobs = scaled.log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1);
    // One tensor of all, to be read back at once: every id is below 2^53.
    std::vector<at::Tensor> drawn{tokens.to(at::kDouble), logprobs.to(at::kDouble)};
    if (of_candidates) drawn.push_back(missing.to(at::kDouble));
    return at::stack(drawn);
}

}  // namespace grpo
