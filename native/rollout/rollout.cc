#include "rollout/rollout.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "device.h"
#include "engine_limits.h"
#include "model/rows.h"
#include "random.h"

namespace grpo {
namespace {

/// Tokens that a prompt waits for rather than compute what another one is computing.
constexpr int64_t kWorthWaiting = 64;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <typename T>
void append(std::vector<T>& to, const std::vector<T>& from) {
    to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

Rollout::Rollout(const Decoder& decoder, const ForwardMode& mode, Decoding& decoding,
                 const RolloutRoom& room, int64_t part_tokens, SampleEvents events, Allowed allowed)
    : decoder_(decoder),
      mode_(mode),
      decoding_(decoding),
      room_(room),
      part_tokens_(part_tokens),
      events_(std::move(events)),
      allowed_(std::move(allowed)) {}

void Rollout::enter(Prompt prompt) {
    waiting_.push_back(std::make_shared<const Prompt>(std::move(prompt)));
}

void Rollout::leave(int64_t index) {
    std::erase_if(waiting_, [&](const auto& prompt) { return prompt->index == index; });
    for (auto slot = static_cast<int64_t>(live_.size()); slot-- > 0;) {
        if (live_[slot].prompt->index != index) continue;
        for (size_t row = rows_.size(); row-- > 0;) {
            if (rows_[row].slot == slot) close_row(row);
        }
        rows_promised_ -= live_[slot].unfinished;
        close_prompt(slot);
    }
}

void Rollout::step() {
    admit();
    if (computes_prompts()) {
        const auto start = std::chrono::steady_clock::now();
        compute(next_parts());
        stats_.prefill_seconds += seconds_since(start);
        // Without parts, all that fit are decoded together from their first step on.
        if (part_tokens_ == 0) return;
    }
    if (!rows_.empty()) decode();
}

void Rollout::admit() {
    while (const std::optional<size_t> next = next_waiting()) {
        const auto prompt = waiting_[*next];
        waiting_.erase(waiting_.begin() + static_cast<int64_t>(*next));
        open(prompt);
    }
}

std::optional<size_t> Rollout::next_waiting() const {
    if (static_cast<int64_t>(live_.size()) >= room_.prompts || rows_promised_ >= room_.rows)
        return std::nullopt;
    std::map<int64_t, int64_t> rows;  // of each owner
    for (const LivePrompt& live : live_) rows[live.prompt->owner] += live.unfinished;
    std::optional<size_t> next;
    int64_t least = 0;
    for (size_t i = 0; i < waiting_.size(); ++i) {
        const auto found = rows.find(waiting_[i]->owner);
        const int64_t has = found == rows.end() ? 0 : found->second;
        if ((next && has >= least) || is_in_the_making(*waiting_[i])) continue;
        next = i;
        least = has;
        if (has == 0) break;
    }
    if (!next || rows_promised_ + waiting_[*next]->group_size > room_.rows) return std::nullopt;
    return next;
}

bool Rollout::is_in_the_making(const Prompt& prompt) const {
    const std::optional<int64_t> known = decoding_.cache().known(prompt.ids);
    if (!known) return false;
    return std::any_of(live_.begin(), live_.end(), [&](const LivePrompt& live) {
        if (live.remaining() == 0) return false;
        const std::vector<int32_t>& other = live.prompt->ids;
        const auto end =
            std::mismatch(prompt.ids.begin(), prompt.ids.end(), other.begin(), other.end());
        return end.first - prompt.ids.begin() >= *known + kWorthWaiting;
    });
}

void Rollout::open(const std::shared_ptr<const Prompt>& prompt) {
    const int64_t group = prompt->group_size;
    const int64_t known = decoding_.cache().open_prompt(prompt->ids);
    LivePrompt live{.prompt = prompt,
                    .rules = TokenRules(*prompt->drawing),
                    .order = opened_++,
                    .computed = known,
                    .unfinished = group,
                    .group = {},
                    .ids = {},
                    .logprobs = {}};
    live.ids.resize(group);
    live.logprobs.resize(group);
    live.group.finish.resize(group);
    live_.push_back(std::move(live));
    rows_promised_ += group;
    stats_.known_tokens += known;
    if (events_.on_opened) events_.on_opened({.prompt = prompt->index, .known = known});
}

bool Rollout::computes_prompts() const {
    return std::any_of(live_.begin(), live_.end(),
                       [](const LivePrompt& live) { return live.remaining() > 0; });
}

std::vector<PromptPart> Rollout::next_parts() const {
    if (part_tokens_ == 0 || !decoding_.takes_parts()) return whole_parts();
    std::vector<PromptPart> parts;
    for (size_t slot = 0; slot < live_.size(); ++slot) {
        if (live_[slot].remaining() > 0)
            parts.push_back({static_cast<int64_t>(slot), live_[slot].computed, 0});
    }
    // Who has waited longest gets a half at least; of the others, who needs least comes first, so
    // that a short prompt does not wait for a long one.
    const auto order = [&](const PromptPart& part) { return live_[part.slot].order; };
    const auto remaining = [&](const PromptPart& part) { return live_[part.slot].remaining(); };
    std::sort(parts.begin(), parts.end(), [&](auto& a, auto& b) { return order(a) < order(b); });
    std::stable_sort(parts.begin() + 1, parts.end(),
                     [&](auto& a, auto& b) { return remaining(a) < remaining(b); });
    const int64_t half = std::min(remaining(parts[0]), part_tokens_ / 2);
    int64_t left = part_tokens_ - half;
    for (size_t i = 1; i < parts.size(); ++i) {
        parts[i].count = std::min(remaining(parts[i]), left);
        left -= parts[i].count;
    }
    parts[0].count = std::min(remaining(parts[0]), half + left);
    std::erase_if(parts, [](const PromptPart& part) { return part.count == 0; });
    return parts;
}

std::vector<PromptPart> Rollout::whole_parts() const {
    std::vector<PromptPart> parts;
    int64_t tokens = 0;
    for (size_t slot = 0; slot < live_.size(); ++slot) {
        const int64_t count = live_[slot].remaining();
        if (count == 0) continue;
        tokens += count;
        if (!parts.empty() && tokens > kLimits.pass_tokens) break;
        parts.push_back({static_cast<int64_t>(slot), live_[slot].computed, count});
    }
    return parts;
}

void Rollout::compute(const std::vector<PromptPart>& parts) {
    std::vector<int64_t> ids, positions, complete, last_token;
    bool whole = true;
    for (const auto& [slot, start, count] : parts) {
        LivePrompt& live = live_[slot];
        const auto begin = live.prompt->ids.begin() + start;
        ids.insert(ids.end(), begin, begin + count);
        for (int64_t i = 0; i < count; ++i) positions.push_back(start + i);
        whole = whole && count == live.length();
        live.computed += count;
        if (live.remaining() > 0) continue;
        complete.push_back(slot);
        last_token.push_back(static_cast<int64_t>(ids.size()) - 1);
    }
    stats_.prefill_tokens += static_cast<int64_t>(ids.size());
    const at::Device device = decoder_.device();
    const at::Tensor hidden =
        decoder_.forward(to_device(ids, device),
                         decoder_.rope_tables(to_device(positions, device), mode_.context_length),
                         decoding_.attention(parts, whole), mode_);
    if (complete.empty()) return;
    const at::Tensor last = take_rows(hidden, to_device(last_token, device));            // [P, C]
    const at::Tensor logits = decoder_.logits(decoder_.final_norm(last, mode_), mode_);  // [P, V]
    begin(complete, logits);
}

void Rollout::begin(const std::vector<int64_t>& slots, const at::Tensor& logits) {
    const size_t first = rows_.size();
    std::vector<int64_t> prompt_of_row;
    for (size_t p = 0; p < slots.size(); ++p) {
        const LivePrompt& live = live_[slots[p]];
        decoding_.cache().complete_prompt(slots[p], live.prompt->ids);
        for (int64_t sample = 0; sample < live.prompt->group_size; ++sample) {
            decoding_.cache().open_row(slots[p]);
            rows_.push_back(
                {.slot = slots[p], .sample = sample, .ids = {}, .logprobs = {}, .tail = {}});
            prompt_of_row.push_back(static_cast<int64_t>(p));
        }
    }
    advance(first, decoding_.draw_first(logits, prompt_of_row, draws(first)));
}

void Rollout::decode() {
    const auto start = std::chrono::steady_clock::now();
    DecodeRows rows;
    for (const LivePrompt& live : live_) rows.prompt_lengths.push_back(live.length());
    for (const Row& row : rows_) {
        rows.ids.push_back(row.ids.back());
        rows.slots.push_back(row.slot);
        rows.times.push_back(static_cast<int64_t>(row.ids.size()) - 1);
    }
    advance(0, decoding_.step(rows, [this] { return draws(0); }));
    ++stats_.decode_steps;
    stats_.decode_seconds += seconds_since(start);
}

std::vector<cpu::RowDraw> Rollout::draws(size_t first) const {
    std::vector<cpu::RowDraw> all;
    for (size_t r = first; r < rows_.size(); ++r) {
        const Row& row = rows_[r];
        const Prompt& prompt = prompt_of(row);
        const Drawing& drawing = *prompt.drawing;
        cpu::RowDraw draw{.drawing = &drawing,
                          .uniform = token_uniform(drawing.seed, drawing.step, prompt.key,
                                                   static_cast<uint32_t>(row.sample),
                                                   static_cast<uint32_t>(row.ids.size())),
                          .restriction = {},
                          .prompt = prompt.ids,
                          .completion = row.ids,
                          .top_logprobs = prompt.top_logprobs};
        const TokenRules& rules = live_[row.slot].rules;
        if (rules.exist()) draw.restriction = rules.after(prompt.ids, row.ids);
        if (drawing.constrained && !draw.restriction.only_these)
            draw.restriction.allowed = allowed_(prompt.index, row.sample);
        all.push_back(std::move(draw));
    }
    return all;
}

void Rollout::advance(size_t first, std::vector<cpu::DrawnToken> drawn) {
    std::vector<std::optional<Finish>> endings;
    for (size_t i = 0; i < drawn.size(); ++i) {
        Row& row = rows_[first + i];
        row.ids.push_back(drawn[i].id);
        row.logprobs.push_back(drawn[i].logprob);
        endings.push_back(ending(row));
    }
    stats_.tokens += static_cast<int64_t>(drawn.size());
    report(first, drawn, endings);
    // From the back, because a row that leaves is replaced by the last one.
    for (size_t i = endings.size(); i-- > 0;) {
        if (endings[i]) retire(first + i, *endings[i]);
    }
}

std::optional<Finish> Rollout::ending(Row& row) const {
    const Drawing& drawing = *prompt_of(row).drawing;
    const std::vector<int32_t>& stops = drawing.stop_ids;
    if (std::find(stops.begin(), stops.end(), row.ids.back()) != stops.end()) return Finish::kEos;
    if (completes_stop_string(row, drawing)) return Finish::kStop;
    if (static_cast<int64_t>(row.ids.size()) >= drawing.max_new_tokens) return Finish::kLength;
    return std::nullopt;
}

bool Rollout::completes_stop_string(Row& row, const Drawing& drawing) {
    if (drawing.stop_strings.empty()) return false;
    const int32_t id = row.ids.back(), begin = drawing.token_offsets[id];
    row.tail.append(drawing.token_bytes, begin, drawing.token_offsets[id + 1] - begin);
    size_t longest = 0;
    for (const std::string& stop : drawing.stop_strings) {
        if (row.tail.find(stop) != std::string::npos) return true;
        longest = std::max(longest, stop.size());
    }
    // What a stop string could still begin with.
    if (row.tail.size() >= longest) row.tail.erase(0, row.tail.size() - (longest - 1));
    return false;
}

void Rollout::report(size_t first, const std::vector<cpu::DrawnToken>& drawn,
                     const std::vector<std::optional<Finish>>& endings) const {
    if (!events_.on_tokens) return;
    StepTokens tokens;
    tokens.top_offsets.push_back(0);
    for (size_t i = 0; i < drawn.size(); ++i) {
        const Row& row = rows_[first + i];
        tokens.prompts.push_back(static_cast<int32_t>(prompt_of(row).index));
        tokens.samples.push_back(static_cast<int32_t>(row.sample));
        tokens.ids.push_back(drawn[i].id);
        tokens.logprobs.push_back(drawn[i].logprob);
        tokens.finish.push_back(endings[i] ? static_cast<uint8_t>(*endings[i]) : kGoesOn);
        for (const cpu::TokenLogprob& other : drawn[i].top) {
            tokens.top_ids.push_back(other.id);
            tokens.top_logprobs.push_back(other.logprob);
        }
        tokens.top_offsets.push_back(static_cast<int32_t>(tokens.top_ids.size()));
    }
    events_.on_tokens(std::move(tokens));
}

void Rollout::retire(size_t row, Finish finish) {
    const int64_t slot = rows_[row].slot, sample = rows_[row].sample;
    LivePrompt& live = live_[slot];
    live.group.finish[sample] = static_cast<uint8_t>(finish);
    live.ids[sample] = rows_[row].ids;
    live.logprobs[sample] = std::move(rows_[row].logprobs);
    close_row(row);
    --rows_promised_;
    if (--live.unfinished == 0) complete_group(slot);
}

void Rollout::close_row(size_t row) {
    std::vector<int32_t> ids = prompt_of(rows_[row]).ids;
    append(ids, rows_[row].ids);
    ids.pop_back();  // which was drawn and not computed
    decoding_.close_row(static_cast<int64_t>(row), ids);
    if (row + 1 != rows_.size()) rows_[row] = std::move(rows_.back());
    rows_.pop_back();
}

void Rollout::close_prompt(int64_t slot) {
    decoding_.cache().close_prompt(slot);
    const auto last = static_cast<int64_t>(live_.size()) - 1;
    if (slot != last) {
        live_[slot] = std::move(live_[last]);
        for (Row& row : rows_) {
            if (row.slot == last) row.slot = slot;
        }
    }
    live_.pop_back();
}

void Rollout::complete_group(int64_t slot) {
    Group group = std::move(live_[slot].group);
    group.prompt = live_[slot].prompt->index;
    group.offsets.push_back(0);
    for (size_t sample = 0; sample < live_[slot].ids.size(); ++sample) {
        append(group.ids, live_[slot].ids[sample]);
        append(group.logprobs, live_[slot].logprobs[sample]);
        group.offsets.push_back(static_cast<int32_t>(group.ids.size()));
    }
    close_prompt(slot);
    if (events_.on_group) events_.on_group(std::move(group));
}

}  // namespace grpo
