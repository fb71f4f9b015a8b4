#include "rollout/operator_decoding.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "model/rows.h"

namespace grpo {
namespace {

constexpr int64_t kSmallestRows = 8;  // of the shapes of recorded steps
constexpr int64_t kSmallestTime = 64;

std::vector<double> uniforms_of(const std::vector<cpu::RowDraw>& draws) {
    std::vector<double> uniforms;
    for (const cpu::RowDraw& draw : draws) uniforms.push_back(draw.uniform);
    return uniforms;
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
      cache_(decoder.config(), room.prompts, room.prompt_width, room.rows,
             std::max<int64_t>(1, room.max_new_tokens - 1),
             at::TensorOptions().dtype(decoder.dtype()).device(decoder.device())),
      stacked_pairs_(decoder.stacked_pairs(mode)) {
    mode_.stacked = &stacked_pairs_;
    reserve_positions(room.prompt_width + room.max_new_tokens);
    // A recorded step knows the cache by its address.
    if (record_) cache_.reserve_time(std::max<int64_t>(0, room.max_new_tokens - 2));
}

void OperatorDecoding::reserve_positions(int64_t count) {
    if (!ropes_.empty() && ropes_[0].cos.size(0) >= count) return;
    const auto index = at::TensorOptions().dtype(at::kLong).device(decoder_.device());
    ropes_ = decoder_.rope_tables(at::arange(count, index), mode_.context_length);
}

std::shared_ptr<Attention> OperatorDecoding::attention(const std::vector<PromptPart>& parts,
                                                       bool /*whole*/) {
    return whole_prompts(decoder_, cache_, parts);
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
    DecodeInputs inputs(rows.shape(), cache_.kv_heads(), decoder_.device());
    inputs.write(rows, uniforms);
    cache_.reserve_time(inputs.shape().time - 1);
    int64_t positions = 0;
    for (size_t r = 0; r < rows.ids.size(); ++r)
        positions = std::max(positions, rows.prompt_lengths[rows.slots[r]] + rows.times[r] + 1);
    reserve_positions(positions);
    return draw(step_logits(inputs), 0, all, inputs.uniforms);
}

at::Tensor OperatorDecoding::step_logits(const DecodeInputs& inputs) {
    RopeTables ropes;
    for (const RopeTable& all : ropes_) ropes.push_back(at_positions(all, inputs.positions));
    const auto attention =
        std::make_shared<DecodeAttention>(decoder_.config(), cache_, inputs, decoder_.dtype());
    const at::Tensor hidden = decoder_.forward(inputs.ids, ropes, attention, mode_);
    // Not after the draw: a step that runs twice over the same inputs draws the same.
    if (marks_.seen.defined())
        marks_.seen.narrow(0, 0, inputs.shape().rows).scatter_(1, inputs.ids.unsqueeze(1), true);
    return decoder_.logits(decoder_.final_norm(hidden, mode_), mode_);
}

std::vector<cpu::DrawnToken> OperatorDecoding::step_recorded(const DecodeRows& rows,
                                                             const std::vector<cpu::RowDraw>& draws,
                                                             const std::vector<double>& uniforms) {
    const at::Device device = decoder_.device();
    const DecodeShape shape = shape_of(rows);
    const auto [found, fresh] =
        static_steps_.try_emplace(shape, DecodeInputs(shape, cache_.kv_heads(), device));
    StaticStep& recorded = found->second;
    recorded.inputs.write(rows, uniforms);
    const auto run = [&] {
        const at::Tensor logits = step_logits(recorded.inputs);
        recorded.drawn = grpo::draw(logits, marks_.narrow(0, shape.rows), recorded.inputs.uniforms,
                                    *draws[0].drawing);
    };
    if (!StepGraph::can_record(device)) {
        run();
    } else {
        if (fresh) recorded.graph = std::make_unique<StepGraph>(device, run);
        recorded.graph->replay();
    }
    return read(recorded.drawn, static_cast<int64_t>(draws.size()));
}

DecodeShape OperatorDecoding::shape_of(const DecodeRows& rows) const {
    const auto bucket = [](int64_t size, int64_t smallest, int64_t limit) {
        return std::min(std::max<int64_t>(std::bit_ceil(static_cast<uint64_t>(size)), smallest),
                        limit);
    };
    const DecodeShape exact = rows.shape();
    return {.rows = bucket(exact.rows, kSmallestRows, room_.rows),
            .prompts = bucket(exact.prompts, 1, room_.prompts),
            .width = room_.group_size,
            .time = bucket(exact.time, kSmallestTime, cache_.time_capacity())};
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
        const auto part = [&]() -> at::Tensor {
            if (alike.size() == 1) return grpo::draw(logits, marks, uniforms, *drawing);
            const at::Tensor index = to_device(rows, device);
            return grpo::draw(take_rows(logits, index),
                              {.seen = take_marks(marks.seen, index),
                               .replacement = take_marks(marks.replacement, index)},
                              take_rows(uniforms, index), *drawing);
        }();
        const auto tokens = read(part, static_cast<int64_t>(rows.size()));
        for (size_t i = 0; i < rows.size(); ++i) drawn[rows[i]] = tokens[i];
    }
    add_likeliest(logits, draws, drawn);
    return drawn;
}

std::vector<cpu::DrawnToken> OperatorDecoding::read(const at::Tensor& drawn, int64_t count) {
    // The only read-back of a decode step whose rows draw alike.
    const std::vector<double> values = read_back_.operator()<double>(drawn);
    const int64_t width = drawn.size(1);
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
    cache_.close_row(row, ids);
}

}  // namespace grpo
