#include "rollout/rollout.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <chrono>

#include "engine_limits.h"
#include "error.h"
#include "model/rows.h"
#include "random.h"

namespace grpo {
namespace {

constexpr int64_t kSmallestRows = 8;  // of the shapes of recorded steps
constexpr int64_t kSmallestTime = 64;

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Rollout::Rollout(const Decoder& decoder, const SampleRequest& request, const ForwardMode& mode,
                 ReadBack& read_back, const std::function<bool()>& cancelled, SampleEvents events)
    : decoder_(decoder),
      request_(request),
      mode_(mode),
      read_back_(read_back),
      cancelled_(cancelled),
      events_(std::move(events)),
      is_stop_(decoder.config().vocab_size, false),
      rules_(request) {
    int64_t width = 0;
    for (int64_t p = 0; p < request.num_prompts(); ++p)
        width = std::max(width, request.prompt_length(p));
    for (const int32_t id : request.stop_ids) is_stop_.at(id) = true;
    for (const std::string& stop : request.stop_strings)
        longest_stop_ = std::max(longest_stop_, stop.size());
    // A group is never split over the limit: it shares its prompt's cache, and its advantages need
    // all of it.
    max_rows_ = std::max(request.max_rows, request.group_size);
    const int64_t groups = std::min(max_rows_ / request.group_size, request.num_prompts());
    max_rows_ = groups * request.group_size;
    // A prompt stays until its last completion ends, so there are more of them than full groups.
    max_prompts_ = std::min(kLimits.prompts_per_full_group * groups, request.num_prompts());
    const auto options = at::TensorOptions().dtype(decoder.dtype()).device(decoder.device());
    const int64_t time = std::max<int64_t>(1, request.max_new_tokens - 1);
    const int64_t positions = width + request.max_new_tokens;
    if (!request.plain && !request.graph_capture && StepDecoder::can_run(decoder)) {
        auto cache = std::make_unique<PanelCache>(decoder.config(), decoder.storage(), max_prompts_,
                                                  width, max_rows_, time);
        team_ = std::make_unique<cpu::Team>(at::get_num_threads());
        step_decoder_ = std::make_unique<StepDecoder>(decoder, mode_, *cache, positions);
        row_sampler_ = std::make_unique<cpu::RowSampler>(request, decoder.config().vocab_size);
        cache_ = std::move(cache);
    } else {
        auto cache = std::make_unique<KvCache>(decoder.config(), max_prompts_, width, max_rows_,
                                               time, options);
        tensors_ = cache.get();
        cache_ = std::move(cache);
        prepare_operators(positions);
        // A recorded step knows the cache by its address.
        if (request.graph_capture) tensors_->reserve_time(time - 1);
    }
    const std::vector<int64_t> all_scores{max_rows_, decoder.config().vocab_size};
    if (request.repetition_penalty != 1)
        marks_.seen = at::zeros(all_scores, options.dtype(at::kBool));
    if (rules_.exist() && !row_sampler_)
        marks_.replacement = at::zeros(all_scores, options.dtype(at::kFloat));
}

void Rollout::prepare_operators(int64_t positions) {
    stacked_pairs_ = decoder_.stacked_pairs(mode_);
    mode_.stacked = &stacked_pairs_;
    const auto index = at::TensorOptions().dtype(at::kLong).device(decoder_.device());
    ropes_ = decoder_.rope_tables(at::arange(positions, index), mode_.context_length);
}

SampleStats Rollout::run() {
    while (true) {
        check_cancelled();
        admit();
        if (rows_.empty() && next_prompt_ == request_.num_prompts()) break;
        if (!rows_.empty()) decode();
    }
    return stats_;
}

void Rollout::check_cancelled() const {
    if (cancelled_()) throw EngineError("CANCELLED", "the rollout was cancelled");
}

void Rollout::admit() {
    const auto start = std::chrono::steady_clock::now();
    while (true) {
        const std::vector<int64_t> prompts = choose_prompts();
        if (prompts.empty()) break;
        check_cancelled();  // first tokens may end all rows, and prompts go on
        prefill(prompts);
    }
    stats_.prefill_seconds += seconds_since(start);
}

std::vector<int64_t> Rollout::choose_prompts() const {
    std::vector<int64_t> prompts;
    int64_t rows = static_cast<int64_t>(rows_.size()), tokens = 0;
    for (int64_t p = next_prompt_; p < request_.num_prompts(); ++p) {
        tokens += request_.prompt_length(p);
        if (rows + request_.group_size > max_rows_) break;
        if (static_cast<int64_t>(live_.size() + prompts.size()) == max_prompts_) break;
        if (!prompts.empty() && tokens > kLimits.pass_tokens) break;
        rows += request_.group_size;
        prompts.push_back(p);
    }
    return prompts;
}

void Rollout::prefill(const std::vector<int64_t>& prompts) {
    const int64_t group = request_.group_size;
    PackedLayout layout;
    std::vector<int64_t> slots, ids, last_token, prompt_of_row;
    const size_t first_row = rows_.size();
    for (const int64_t p : prompts) {
        const auto* begin = request_.prompt_ids.data() + request_.prompt_offsets[p];
        const int64_t length = request_.prompt_length(p);
        const auto slot = static_cast<int64_t>(live_.size());
        ids.insert(ids.end(), begin, begin + length);
        last_token.push_back(static_cast<int64_t>(ids.size()) - 1);
        layout.prompt_lengths.push_back(length);
        slots.push_back(slot);
        live_.push_back({.prompt = p, .unfinished = group, .group = {}, .ids = {}, .logprobs = {}});
        live_.back().ids.resize(group);
        live_.back().logprobs.resize(group);
        live_.back().group.finish.resize(group);
        for (int64_t sample = 0; sample < group; ++sample) {
            if (marks_.seen.defined()) {
                const std::vector<int64_t> prompt(begin, begin + length);
                marks_.seen.select(0, static_cast<int64_t>(rows_.size()))
                    .zero_()
                    .index_fill_(0, to_device(prompt, marks_.seen.device()), true);
            }
            rows_.push_back(
                {.slot = slot, .sample = sample, .ids = {}, .logprobs = {}, .tail = {}});
            prompt_of_row.push_back(static_cast<int64_t>(slots.size()) - 1);
        }
    }
    next_prompt_ += static_cast<int64_t>(prompts.size());
    stats_.prefill_tokens += static_cast<int64_t>(ids.size());

    const at::Device device = decoder_.device();
    const auto attention = std::make_shared<PackedAttention>(
        decoder_.config(), layout, decoder_.dtype(), device, decoder_.storage());
    attention->store_prompts(cache_.get(), slots);
    const at::Tensor hidden = decoder_.forward(
        to_device(ids, device),
        decoder_.rope_tables(to_device(layout.positions(), device), mode_.context_length),
        attention, mode_);
    const at::Tensor last = take_rows(hidden, to_device(last_token, device));            // [P, C]
    const at::Tensor logits = decoder_.logits(decoder_.final_norm(last, mode_), mode_);  // [P, V]
    if (row_sampler_) {
        std::vector<const float*> rows;
        for (const int64_t prompt : prompt_of_row)
            rows.push_back(logits.const_data_ptr<float>() + prompt * logits.size(1));
        draw(first_row, rows);
    } else {
        const auto count = static_cast<int64_t>(prompt_of_row.size());
        std::vector<double> uniforms;
        for (size_t row = first_row; row < rows_.size(); ++row)
            uniforms.push_back(uniform(rows_[row]));
        mark_restrictions(first_row);
        const at::Tensor drawn = grpo::draw(take_rows(logits, to_device(prompt_of_row, device)),
                                            marks_.narrow(static_cast<int64_t>(first_row), count),
                                            to_device(uniforms, device), request_);
        take(first_row, drawn, count);
    }
    advance(first_row);
}

void Rollout::decode() {
    const auto start = std::chrono::steady_clock::now();
    const DecodeRows rows = decode_rows();
    if (step_decoder_) {
        decode_in_loops(rows);
    } else {
        decode_by_operators(rows);
    }
    advance(0);
    ++stats_.decode_steps;
    stats_.decode_seconds += seconds_since(start);
}

void Rollout::decode_in_loops(const DecodeRows& rows) {
    const cpu::Team::Awake awake(*team_);
    step_decoder_->step(rows);
    const auto total = static_cast<int64_t>(rows_.size());
    const int64_t vocabulary = decoder_.config().vocab_size;
    for (int64_t first = 0; first < total; first += kLimits.logit_rows) {
        const int64_t count = std::min(kLimits.logit_rows, total - first);
        const float* logits = step_decoder_->logits(first, count);
        std::vector<const float*> of_row;
        for (int64_t i = 0; i < count; ++i) of_row.push_back(logits + i * vocabulary);
        draw(first, of_row);
    }
}

void Rollout::decode_by_operators(const DecodeRows& rows) {
    const at::Device device = decoder_.device();
    const int64_t kv_heads = decoder_.config().num_kv_heads;
    const auto count = static_cast<int64_t>(rows.ids.size());
    mark_restrictions(0);
    if (!request_.graph_capture) {
        DecodeInputs inputs(rows.shape(), kv_heads, device);
        inputs.write(rows);
        return take(0, step(inputs), count);
    }
    const DecodeShape shape = shape_of(rows);
    const auto [found, fresh] =
        static_steps_.try_emplace(shape, DecodeInputs(shape, kv_heads, device));
    StaticStep& recorded = found->second;
    recorded.inputs.write(rows);
    const auto run = [&] { recorded.drawn = step(recorded.inputs); };
    if (!StepGraph::can_record(device)) {
        run();
    } else {
        if (fresh) recorded.graph = std::make_unique<StepGraph>(device, run);
        recorded.graph->replay();
    }
    take(0, recorded.drawn, count);
}

DecodeShape Rollout::shape_of(const DecodeRows& rows) const {
    const auto bucket = [](int64_t size, int64_t smallest, int64_t limit) {
        return std::min(std::max<int64_t>(std::bit_ceil(static_cast<uint64_t>(size)), smallest),
                        limit);
    };
    const DecodeShape exact = rows.shape();
    return {.rows = bucket(exact.rows, kSmallestRows, max_rows_),
            .prompts = bucket(exact.prompts, 1, max_prompts_),
            .width = request_.group_size,
            .time = bucket(exact.time, kSmallestTime, tensors_->time_capacity())};
}

at::Tensor Rollout::step(const DecodeInputs& inputs) {
    RopeTables ropes;
    for (const RopeTable& all : ropes_) ropes.push_back(at_positions(all, inputs.positions));
    const auto attention =
        std::make_shared<DecodeAttention>(decoder_.config(), *tensors_, inputs, decoder_.dtype());
    const at::Tensor hidden = decoder_.forward(inputs.ids, ropes, attention, mode_);
    const at::Tensor logits = decoder_.logits(decoder_.final_norm(hidden, mode_), mode_);
    const RowMarks marks = marks_.narrow(0, inputs.shape().rows);
    // Not after the draw: a step that runs twice over the same inputs draws the same.
    if (marks.seen.defined()) marks.seen.scatter_(1, inputs.ids.unsqueeze(1), true);
    return grpo::draw(logits, marks, inputs.uniforms, request_);
}

cpu::Restriction Rollout::restriction(const Row& row) const {
    return rules_.after(request_.prompt(live_[row.slot].prompt), row.ids);
}

void Rollout::mark_restrictions(size_t first) {
    if (!rules_.exist()) return;
    for (size_t row = first; row < rows_.size(); ++row) {
        write_restriction(restriction(rows_[row]),
                          marks_.replacement.select(0, static_cast<int64_t>(row)));
    }
}

DecodeRows Rollout::decode_rows() const {
    DecodeRows rows;
    for (const LivePrompt& live : live_)
        rows.prompt_lengths.push_back(request_.prompt_length(live.prompt));
    for (const Row& row : rows_) {
        rows.ids.push_back(row.ids.back());
        rows.slots.push_back(row.slot);
        rows.times.push_back(static_cast<int64_t>(row.ids.size()) - 1);
        rows.uniforms.push_back(uniform(row));
    }
    return rows;
}

double Rollout::uniform(const Row& row) const {
    return token_uniform(request_.seed, request_.step,
                         static_cast<uint32_t>(request_.prompt_keys[live_[row.slot].prompt]),
                         static_cast<uint32_t>(row.sample), static_cast<uint32_t>(row.ids.size()));
}

void Rollout::take(size_t first, const at::Tensor& drawn, int64_t count) {
    // The only read-back of a decode step.
    const std::vector<double> values = read_back_.operator()<double>(drawn);
    const int64_t width = drawn.size(1);
    for (int64_t i = 0; i < count; ++i) {
        rows_[first + i].ids.push_back(static_cast<int32_t>(values[i]));
        rows_[first + i].logprobs.push_back(static_cast<float>(values[width + i]));
    }
}

void Rollout::draw(size_t first, const std::vector<const float*>& logits) {
    const int64_t vocabulary = decoder_.config().vocab_size;
    const auto seen = [&](size_t row) {
        bool* all = marks_.seen.defined() ? marks_.seen.mutable_data_ptr<bool>() : nullptr;
        return all == nullptr ? nullptr : all + row * vocabulary;
    };
    std::vector<cpu::Restriction> restrictions(rules_.exist() ? logits.size() : 0);
    for (size_t i = 0; i < restrictions.size(); ++i)
        restrictions[i] = restriction(rows_[first + i]);
    const auto restricting = [&](size_t i) {
        return i < restrictions.size() && restrictions[i].exists() ? &restrictions[i] : nullptr;
    };
    std::vector<cpu::SamplerRow> rows;
    for (size_t i = 0; i < logits.size(); ++i)
        rows.push_back({logits[i], seen(first + i), restricting(i), uniform(rows_[first + i])});
    const std::vector<cpu::DrawnToken> drawn = row_sampler_->draw(rows);
    for (size_t i = 0; i < drawn.size(); ++i) {
        rows_[first + i].ids.push_back(drawn[i].id);
        rows_[first + i].logprobs.push_back(drawn[i].logprob);
        if (bool* marks = seen(first + i)) marks[drawn[i].id] = true;
    }
}

void Rollout::advance(size_t first) {
    report_tokens(first);
    stats_.tokens += static_cast<int64_t>(rows_.size() - first);
    // From the back, because a row that leaves is replaced by the last one.
    for (size_t row = rows_.size(); row-- > first;) {
        if (const std::optional<Finish> finish = ending(rows_[row])) retire(row, *finish);
    }
}

std::optional<Finish> Rollout::ending(Row& row) const {
    if (is_stop_[row.ids.back()]) return Finish::kEos;
    if (completes_stop_string(row)) return Finish::kStop;
    if (static_cast<int64_t>(row.ids.size()) >= request_.max_new_tokens) return Finish::kLength;
    return std::nullopt;
}

bool Rollout::completes_stop_string(Row& row) const {
    if (longest_stop_ == 0) return false;
    const int32_t id = row.ids.back(), begin = request_.token_offsets[id];
    row.tail.append(request_.token_bytes, begin, request_.token_offsets[id + 1] - begin);
    const auto found = [&](const std::string& stop) {
        return row.tail.find(stop) != std::string::npos;
    };
    if (std::any_of(request_.stop_strings.begin(), request_.stop_strings.end(), found)) return true;
    // What a stop string could still begin with.
    if (row.tail.size() >= longest_stop_) row.tail.erase(0, row.tail.size() - (longest_stop_ - 1));
    return false;
}

void Rollout::report_tokens(size_t first) const {
    if (!events_.on_tokens) return;
    StepTokens tokens;
    for (size_t r = first; r < rows_.size(); ++r) {
        tokens.prompts.push_back(static_cast<int32_t>(live_[rows_[r].slot].prompt));
        tokens.samples.push_back(static_cast<int32_t>(rows_[r].sample));
        tokens.ids.push_back(rows_[r].ids.back());
    }
    events_.on_tokens(std::move(tokens));
}

void Rollout::retire(size_t row, Finish finish) {
    Row& done = rows_[row];
    const int64_t slot = done.slot;
    LivePrompt& live = live_[slot];
    live.ids[done.sample] = std::move(done.ids);
    live.logprobs[done.sample] = std::move(done.logprobs);
    live.group.finish[done.sample] = static_cast<uint8_t>(finish);

    const size_t last = rows_.size() - 1;
    if (row != last) {
        const auto from = static_cast<int64_t>(last), to = static_cast<int64_t>(row);
        if (rows_[last].ids.size() > 1) cache_->move_row(from, to);
        if (marks_.seen.defined()) marks_.seen.select(0, to).copy_(marks_.seen.select(0, from));
        rows_[row] = std::move(rows_[last]);
    }
    rows_.pop_back();
    if (--live.unfinished == 0) complete_group(slot);
}

void Rollout::complete_group(int64_t slot) {
    LivePrompt done = std::move(live_[slot]);
    const auto last = static_cast<int64_t>(live_.size()) - 1;
    if (slot != last) {
        cache_->move_prompt(last, slot);
        live_[slot] = std::move(live_[last]);
        for (Row& row : rows_) {
            if (row.slot == last) row.slot = slot;
        }
    }
    live_.pop_back();

    done.group.prompt = done.prompt;
    done.group.offsets.push_back(0);
    for (size_t sample = 0; sample < done.ids.size(); ++sample) {
        done.group.ids.insert(done.group.ids.end(), done.ids[sample].begin(),
                              done.ids[sample].end());
        done.group.logprobs.insert(done.group.logprobs.end(), done.logprobs[sample].begin(),
                                   done.logprobs[sample].end());
        done.group.offsets.push_back(static_cast<int32_t>(done.group.ids.size()));
    }
    events_.on_group(std::move(done.group));
}

}  // namespace grpo
