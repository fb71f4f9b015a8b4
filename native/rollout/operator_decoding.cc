#include "rollout/operator_decoding.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <limits>

#include "model/flash_attention.h"
#include "model/kv_cache.h"
#include "model/paged_cache.h"
#include "model/rows.h"

namespace grpo {
namespace {

std::vector<double> uniforms_of(const std::vector<cpu::RowDraw>& draws) {
    std::vector<double> uniforms;
    for (const cpu::RowDraw& draw : draws) uniforms.push_back(draw.uniform);
    return uniforms;
}

/// In pages where the device has kernels that read them. A recorded step knows the cache by its
/// address, so there it has all its room from the beginning.
std::unique_ptr<StepCache> make_cache(const Decoder& decoder, const RolloutRoom& room,
                                      bool record) {
    const auto options = at::TensorOptions().dtype(decoder.dtype()).device(decoder.device());
    if (has_flash_attention(decoder.config(), decoder.dtype(), decoder.device())) {
        const int64_t longest = room.prompt_width + room.max_new_tokens;
        const int64_t own = record ? PagedCache::pages_for(room.max_new_tokens) + 1 : 1;
        return std::make_unique<PagedCache>(
            decoder.config(),
            room.prompts * PagedCache::pages_for(room.prompt_width) + room.rows * own, room.rows,
            longest, options);
    }
    auto cache = std::make_unique<KvCache>(decoder.config(), room.prompts, room.prompt_width,
                                           room.rows, room.group_size,
                                           std::max<int64_t>(1, room.max_new_tokens - 1), options);
    if (record) cache->reserve_time(std::max<int64_t>(0, room.max_new_tokens - 2));
    return cache;
}

at::Tensor take_marks(const at::Tensor& all, const at::Tensor& rows) {
    return all.defined() ? take_rows(all, rows) : at::Tensor();
}

}  // namespace

OperatorDecoding::OperatorDecoding(const Decoder& decoder, const ForwardMode& mode,
                                   const RolloutRoom& room, bool record, ReadBack& read_back)
    : decoder_(decoder),
      mode_(mode),
      room_(room),
      record_(record),
      read_back_(read_back),
      cache_(make_cache(decoder, room, record)),
      stacked_pairs_(decoder.stacked_pairs(mode)) {
    mode_.stacked = &stacked_pairs_;
    reserve_positions(room.prompt_width + room.max_new_tokens);
}

void OperatorDecoding::reserve_positions(int64_t count) {
    if (!ropes_.empty() && ropes_[0].cos.size(0) >= count) return;
    const auto index = at::TensorOptions().dtype(at::kLong).device(decoder_.device());
    ropes_ = decoder_.rope_tables(at::arange(count, index), mode_.context_length);
}

std::shared_ptr<Attention> OperatorDecoding::attention(const std::vector<PromptPart>& parts,
                                                       bool /*whole*/) {
    return whole_prompts(decoder_, *cache_, parts);
}

void OperatorDecoding::mark(int64_t first, const std::vector<cpu::RowDraw>& draws) {
    const int64_t vocabulary = decoder_.config().vocab_size;
    const auto options = at::TensorOptions().device(decoder_.device());
    const auto row_of = [&](at::Tensor& marks, at::ScalarType dtype, double nothing, int64_t row) {
        if (!marks.defined())
            marks = at::full({room_.rows, vocabulary}, nothing, options.dtype(dtype));
        return marks.select(0, row);
    };
    for (size_t i = 0; i < draws.size(); ++i) {
        const cpu::RowDraw& draw = draws[i];
        const int64_t row = first + static_cast<int64_t>(i);
        if (draw.drawing->repetition_penalty != 1 && draw.completion.empty()) {
            const std::vector<int64_t> prompt(draw.prompt.begin(), draw.prompt.end());
            row_of(marks_.seen, at::kBool, 0, row)
                .zero_()
                .index_fill_(0, to_device(prompt, decoder_.device()), true);
        }
        if (draw.restriction.exists() || marks_.replacement.defined())
            write_restriction(draw.restriction,
                              row_of(marks_.replacement, at::kFloat,
                                     std::numeric_limits<double>::quiet_NaN(), row));
    }
}

std::vector<cpu::DrawnToken> OperatorDecoding::draw_first(const at::Tensor& logits,
                                                          const std::vector<int64_t>& prompt_of_row,
                                                          const std::vector<cpu::RowDraw>& rows) {
    const auto count = static_cast<int64_t>(rows.size());
    mark(rows_, rows);
    rows_ += count;
    return draw(take_rows(logits, to_device(prompt_of_row, decoder_.device())), rows_ - count, rows,
                to_device(uniforms_of(rows), decoder_.device()));
}

std::vector<cpu::DrawnToken> OperatorDecoding::step(const DecodeRows& rows, const Draws& draws) {
    const std::vector<cpu::RowDraw> all = draws();
    const std::vector<double> uniforms = uniforms_of(all);
    mark(0, all);
    if (record_) return step_recorded(rows, all, uniforms);
    const std::unique_ptr<StepInputs> inputs = cache_->inputs(cache_->shape_of(rows));
    inputs->write(rows, uniforms);
    int64_t positions = 0;
    for (size_t r = 0; r < rows.ids.size(); ++r)
        positions = std::max(positions, rows.position(static_cast<int64_t>(r)) + 1);
    reserve_positions(positions);
    return draw(step_logits(*inputs), 0, all, inputs->uniforms);
}

at::Tensor OperatorDecoding::step_logits(const StepInputs& inputs) {
    RopeTables ropes;
    for (const RopeTable& all : ropes_) ropes.push_back(at_positions(all, inputs.positions));
    const at::Tensor hidden =
        decoder_.forward(inputs.ids, ropes, cache_->step_attention(inputs), mode_);
    // Not after the draw: a step that runs twice over the same inputs draws the same.
    if (marks_.seen.defined())
        marks_.seen.narrow(0, 0, inputs.ids.size(0)).scatter_(1, inputs.ids.unsqueeze(1), true);
    return decoder_.logits(decoder_.final_norm(hidden, mode_), mode_);
}

std::vector<cpu::DrawnToken> OperatorDecoding::step_recorded(const DecodeRows& rows,
                                                             const std::vector<cpu::RowDraw>& draws,
                                                             const std::vector<double>& uniforms) {
    const at::Device device = decoder_.device();
    const DecodeShape shape = cache_->fixed_shape_of(rows);
    const auto [found, fresh] = static_steps_.try_emplace(shape);
    StaticStep& recorded = found->second;
    if (fresh) recorded.inputs = cache_->inputs(shape);
    recorded.inputs->write(rows, uniforms);
    const Drawing& drawing = *draws[0].drawing;
    const auto draw_again = [&](bool of_candidates) {
        return grpo::draw(recorded.logits, marks_.narrow(0, shape.rows), recorded.inputs->uniforms,
                          drawing, of_candidates);
    };
    const auto run = [&] {
        recorded.logits = step_logits(*recorded.inputs);
        recorded.drawn = draw_again(draws_from_candidates(recorded.logits, drawing));
    };
    if (!StepGraph::can_record(device)) {
        run();
    } else {
        if (fresh) recorded.graph = std::make_unique<StepGraph>(device, run);
        recorded.graph->replay();
    }
    return read(recorded.drawn, static_cast<int64_t>(draws.size()),
                [&] { return draw_again(/*of_candidates=*/false); });
}

std::vector<cpu::DrawnToken> OperatorDecoding::draw(const at::Tensor& logits, int64_t first,
                                                    const std::vector<cpu::RowDraw>& draws,
                                                    const at::Tensor& uniforms) {
    const at::Device device = decoder_.device();
    const auto count = static_cast<int64_t>(draws.size());
    std::map<const Drawing*, std::vector<int64_t>> alike;
    for (int64_t i = 0; i < count; ++i) alike[draws[i].drawing].push_back(i);
    std::vector<cpu::DrawnToken> drawn(count);
    const RowMarks marks = marks_.narrow(first, count);
    for (const auto& [drawing, rows] : alike) {
        const bool all = alike.size() == 1;
        const at::Tensor index = all ? at::Tensor() : to_device(rows, device);
        const at::Tensor own = all ? logits : take_rows(logits, index);
        const auto draw_part = [&](bool of_candidates) {
            if (all) return grpo::draw(own, marks, uniforms, *drawing, of_candidates);
            return grpo::draw(own,
                              {.seen = take_marks(marks.seen, index),
                               .replacement = take_marks(marks.replacement, index)},
                              take_rows(uniforms, index), *drawing, of_candidates);
        };
        const auto tokens =
            read(draw_part(draws_from_candidates(own, *drawing)), static_cast<int64_t>(rows.size()),
                 [&] { return draw_part(/*of_candidates=*/false); });
        for (size_t i = 0; i < rows.size(); ++i) drawn[rows[i]] = tokens[i];
    }
    add_likeliest(logits, draws, drawn);
    return drawn;
}

std::vector<cpu::DrawnToken> OperatorDecoding::read(const at::Tensor& drawn, int64_t count,
                                                    const std::function<at::Tensor()>& again) {
    // The only read-back of a decode step whose rows draw alike, unless the candidates of one are
    // too few.
    std::vector<double> values = read_back_.operator()<double>(drawn);
    const int64_t width = drawn.size(1);
    bool missing = false;
    for (int64_t i = 0; drawn.size(0) > 2 && i < count; ++i)
        missing = missing || values[2 * width + i] > 0;
    if (missing) values = read_back_.operator()<double>(again());
    std::vector<cpu::DrawnToken> tokens(count);
    for (int64_t i = 0; i < count; ++i) {
        tokens[i].id = static_cast<int32_t>(values[i]);
        tokens[i].logprob = static_cast<float>(values[width + i]);
    }
    return tokens;
}

void OperatorDecoding::add_likeliest(const at::Tensor& logits,
                                     const std::vector<cpu::RowDraw>& draws,
                                     std::vector<cpu::DrawnToken>& drawn) {
    for (size_t i = 0; i < draws.size(); ++i) {
        if (draws[i].top_logprobs == 0) continue;
        const at::Tensor scores =
            (logits.select(0, static_cast<int64_t>(i)) / draws[i].drawing->temperature)
                .log_softmax(-1);
        const auto [values, ids] = scores.topk(std::min(draws[i].top_logprobs, scores.size(0)), -1);
        const auto read =
            read_back_.operator()<double>(at::stack({ids.to(at::kDouble), values.to(at::kDouble)}));
        const int64_t count = values.size(0);
        for (int64_t k = 0; k < count; ++k) {
            drawn[i].top.push_back(
                {static_cast<int32_t>(read[k]), static_cast<float>(read[count + k])});
        }
    }
}

void OperatorDecoding::close_row(int64_t row, std::span<const int32_t> ids) {
    if (const int64_t last = --rows_; row != last) {
        for (const at::Tensor& marks : {marks_.seen, marks_.replacement}) {
            if (marks.defined()) marks.select(0, row).copy_(marks.select(0, last));
        }
    }
    cache_->close_row(row, ids);
}

}  // namespace grpo
