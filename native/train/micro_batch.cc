#include "train/micro_batch.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "device.h"
#include "model/rows.h"

namespace grpo {

namespace {

int64_t context_length(const Batch& batch) {
    int64_t longest = batch.context_length;
    if (longest > 0) return longest;
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
        longest = std::max(
            longest, batch.prompt_length(batch.prompt_of[row]) + batch.completion_length(row));
    }
    return longest;
}

constexpr double kUneven = 1.125;  // of the largest share against the mean

/// Tokens that a pass over these rows feeds, with every prompt once.
int64_t tokens_fed(const Batch& batch, RowRange rows) {
    int64_t tokens = 0, prompt = -1;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
        if (batch.completion_length(row) == 0) continue;
        tokens += batch.completion_length(row);
        if (batch.prompt_of[row] != prompt) tokens += batch.prompt_length(batch.prompt_of[row]);
        prompt = batch.prompt_of[row];
    }
    return tokens;
}

/// Consecutive rows in pieces of about as many tokens. To cut between the completions of a prompt
/// costs that prompt once more.
std::vector<RowRange> share_out(const Batch& batch, int64_t pieces) {
    const int64_t rows = batch.num_rows();
    std::vector<int64_t> before{0};  // tokens fed for the rows before each
    for (int64_t row = 0, prompt = -1; row < rows; ++row) {
        int64_t tokens = batch.completion_length(row);
        if (tokens > 0 && batch.prompt_of[row] != std::exchange(prompt, batch.prompt_of[row]))
            tokens += batch.prompt_length(prompt);
        before.push_back(before.back() + tokens);
    }
    const auto between = [&](int64_t begin, int64_t end) {
        const bool cut =
            begin > 0 && begin < end && batch.prompt_of[begin] == batch.prompt_of[begin - 1];
        return before[end] - before[begin] +
               (cut ? batch.prompt_length(batch.prompt_of[begin]) : 0);
    };
    std::vector<RowRange> ranges;
    for (int64_t begin = 0, others = pieces - 1; others >= 0; --others) {
        int64_t end = rows, best = std::numeric_limits<int64_t>::max();
        for (int64_t cut = begin; cut <= rows && others > 0; ++cut) {
            const int64_t largest = std::max(between(begin, cut), between(cut, rows) / others);
            if (largest >= best) continue;
            best = largest;
            end = cut;
        }
        ranges.push_back({begin, end});
        begin = end;
    }
    return ranges;
}

/// Consecutive rows within max_tokens, at least one row each.
std::vector<RowRange> plan_micro_batches(const Batch& batch, RowRange rows, int64_t max_tokens) {
    std::vector<RowRange> ranges;
    int64_t tokens = 0, prompt = -1;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
        int64_t cost = batch.completion_length(row);
        if (cost == 0 && !ranges.empty()) {  // not computed, and neither is its prompt
            ranges.back().end = row + 1;
            continue;
        }
        if (batch.prompt_of[row] != prompt) cost += batch.prompt_length(batch.prompt_of[row]);
        if (!ranges.empty() && tokens + cost <= max_tokens) {
            ranges.back().end = row + 1;
            tokens += cost;
        } else {
            ranges.push_back({row, row + 1});
            tokens = batch.completion_length(row) + batch.prompt_length(batch.prompt_of[row]);
        }
        prompt = batch.prompt_of[row];
    }
    return ranges;
}

}  // namespace

TrainBatch scored_part(const TrainBatch& batch, const std::vector<bool>& idle) {
    std::vector<int64_t> ends;  // [B] of what is kept of each completion
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
        const int64_t begin = batch.completion_offsets[row];
        int64_t end = idle[row] ? begin : batch.completion_offsets[row + 1];
        while (end > begin && !batch.counts(end - 1)) --end;
        ends.push_back(end);
    }
    if (std::equal(ends.begin(), ends.end(), batch.completion_offsets.begin() + 1)) return batch;
    TrainBatch kept = batch;
    kept.context_length = context_length(batch);
    const auto keep = [&](const auto& from, auto& to) {
        to.clear();
        if (from.empty()) return;
        for (int64_t row = 0; row < batch.num_rows(); ++row) {
            to.insert(to.end(), from.begin() + batch.completion_offsets[row],
                      from.begin() + ends[row]);
        }
    };
    keep(batch.completion_ids, kept.completion_ids);
    keep(batch.loss_mask, kept.loss_mask);
    keep(batch.token_advantages, kept.token_advantages);
    keep(batch.old_logprobs, kept.old_logprobs);
    keep(batch.reference_logprobs, kept.reference_logprobs);
    keep(batch.sampling_logprobs, kept.sampling_logprobs);
    keep(batch.importance_ratios, kept.importance_ratios);
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
        const int64_t length = ends[row] - batch.completion_offsets[row];
        kept.completion_offsets[row + 1] =
            static_cast<int32_t>(kept.completion_offsets[row] + length);
    }
    return kept;
}

std::vector<std::vector<MicroBatch>> plan_lanes(const Batch& batch, int64_t max_tokens,
                                                int64_t threads) {
    const RowRange all{0, batch.num_rows()};
    std::vector<RowRange> shares = share_out(batch, threads);
    int64_t largest_share = 0, longest_row = 0;
    for (const RowRange rows : shares)
        largest_share = std::max(largest_share, tokens_fed(batch, rows));
    for (int64_t row = 0; row < batch.num_rows(); ++row)
        longest_row = std::max(longest_row, tokens_fed(batch, {row, row + 1}));
    const bool even = static_cast<double>(largest_share * threads) <=
                      kUneven * static_cast<double>(tokens_fed(batch, all));
    if (!even || longest_row > max_tokens / threads) {
        shares = {all};
        threads = 1;
    }
    std::vector<std::vector<MicroBatch>> lanes;
    const std::vector<int64_t> counted =
        counted_lengths(batch.completion_offsets, batch.loss_mask);  // [B]
    int64_t index = 0, first_token = 0;
    for (const RowRange share : shares) {
        lanes.emplace_back();
        for (const RowRange rows : plan_micro_batches(batch, share, max_tokens / threads)) {
            const int64_t tokens = std::accumulate(counted.begin() + rows.begin,
                                                   counted.begin() + rows.end, int64_t{0});
            if (tokens == 0) continue;
            lanes.back().push_back({rows, index++, first_token});
            first_token += tokens;
        }
        if (lanes.size() > 1 && lanes.back().empty()) lanes.pop_back();
    }
    return lanes;
}

PackedInput pack_rows(const Batch& batch, const MicroBatch& part, at::Device device) {
    const RowRange rows = part.rows;
    PackedInput input;
    input.context_length = context_length(batch);
    input.first_token = part.first_token;
    std::vector<int64_t> ids, scored, targets, last_of_prompt;
    int64_t previous = -1;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
        if (batch.completion_length(row) == 0) continue;  // nothing to score
        const int64_t prompt = batch.prompt_of[row];
        if (prompt != previous) {
            const int32_t* begin = batch.prompt_ids.data() + batch.prompt_offsets[prompt];
            ids.insert(ids.end(), begin, begin + batch.prompt_length(prompt));
            input.layout.prompt_lengths.push_back(batch.prompt_length(prompt));
            last_of_prompt.push_back(static_cast<int64_t>(ids.size()) - 1);
            previous = prompt;
        }
        input.layout.prompt_of.push_back(static_cast<int64_t>(last_of_prompt.size()) - 1);
        input.layout.completion_lengths.push_back(batch.completion_length(row) - 1);
    }
    size_t packed = 0;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
        const int64_t begin = batch.completion_offsets[row];
        const int64_t end = batch.completion_offsets[row + 1];
        if (begin == end) continue;
        const size_t scored_before = scored.size();
        int64_t predecessor = last_of_prompt[input.layout.prompt_of[packed++]];  // flat
        for (int64_t token = begin; token < end; ++token) {
            if (batch.counts(token)) {
                scored.push_back(predecessor);
                targets.push_back(batch.completion_ids[token]);
            }
            if (token + 1 == end) break;
            predecessor = static_cast<int64_t>(ids.size());
            ids.push_back(batch.completion_ids[token]);
        }
        input.scored_lengths.push_back(static_cast<int64_t>(scored.size() - scored_before));
    }
    input.ids = to_device(ids, device);
    input.positions = to_device(input.layout.positions(), device);
    input.scored = to_device(scored, device);
    input.targets = to_device(targets, device);
    return input;
}

at::Tensor predict_hidden(const Decoder& decoder, const PackedInput& input,
                          const ForwardMode& mode) {
    const auto attention = std::make_shared<PackedAttention>(
        decoder.config(), input.layout, decoder.dtype(), decoder.device(), decoder.storage());
    ForwardMode with_length = mode;
    with_length.context_length = input.context_length;
    const at::Tensor hidden =
        decoder.forward(input.ids, decoder.rope_tables(input.positions, with_length.context_length),
                        attention, with_length);
    return decoder.final_norm(take_rows(hidden, input.scored), with_length);
}

}  // namespace grpo
