#include "kernels/attention_block.h"

#include <algorithm>
#include <cstring>

#include "kernels/gemm.h"

namespace grpo::cpu {
namespace {

/// The first key that a query sees of `end`, its own included.
int64_t first_seen(int64_t end, int64_t window) {
    return window == 0 ? 0 : std::max<int64_t>(0, end - window);
}

}  // namespace

BlockOfHead::BlockOfHead(const AttentionBlock& block, const AttentionShape& shape, int64_t head)
    : block_(block), shape_(shape), head_(head) {
    first_ = block.width();
    for (const AttentionBlock::Span& span : block.spans) {
        const int64_t end = block.prompt_length + span.first - span.start + 1;
        first_ = std::min(first_, first_seen(end, shape.window));
    }
    skipped_ = std::max<int64_t>(0, first_ - kPanelColumns + 1);
    // Rows begin with a cache line, and not all at the same places of a cache.
    stride_ = panels_of(block.width() - skipped_) * kPanelColumns + kPanelColumns / 2;
}

void BlockOfHead::gather(const float* from, float* to) const {
    const int64_t size = shape_.repeats() * shape_.head_dim;
    for (int64_t i = 0; i < block_.count; ++i)
        std::memcpy(to + i * size, from + place(i), size * sizeof(float));
}

void BlockOfHead::scatter(const float* from, float* to) const {
    const int64_t size = shape_.repeats() * shape_.head_dim;
    for (int64_t i = 0; i < block_.count; ++i)
        std::memcpy(to + place(i), from + i * size, size * sizeof(float));
}

/// Calls f for all rows with the prompt's keys, and for each span with its own, of which `lent` are
/// the prompt's last ones.
template <typename F>
void BlockOfHead::each_part(int64_t lent, F f) const {
    // Whole panels, the first of which holds the first key that is seen.
    const auto panel_at = [&](int64_t key) {
        return std::max<int64_t>(0, key) / kPanelColumns * kPanelColumns;
    };
    const int64_t prompt = block_.prompt_length - lent, in_prompt = panel_at(first_);
    if (in_prompt < prompt) {
        f(Part{0, rows(), block_.prompt_start, in_prompt, prompt - in_prompt,
               in_prompt - skipped_});
    }
    const int64_t key = panel_at(first_ - prompt);
    for (const AttentionBlock::Span& span : block_.spans) {
        const int64_t keys = lent + span.keys() - key;
        if (keys > 0)
            f(Part{row_of(span), span.count * shape_.repeats(), span.start, key, keys,
                   prompt + key - skipped_});
    }
}

void BlockOfHead::by_both(const float* a, const PackedHead& b, double scale, float* scores) const {
    each_part(0, [&](const Part& part) {
        multiply_alone(gemm_kernels(),
                       {.m = part.rows,
                        .n = part.keys,
                        .k = shape_.head_dim,
                        .storage = shape_.storage,
                        .a = {a + part.row * shape_.head_dim, shape_.head_dim, 1},
                        .scale = static_cast<float>(scale),
                        .form = Form::kPanels,
                        .panels = b.layout.columns_of(b.words, part.start, part.key),
                        .c = scores + part.row * stride_ + part.column,
                        .c_stride = stride_});
    });
}

void BlockOfHead::to_queries(const float* scores, const float* row_scales, const PackedHead& b,
                             double scale, float* out) const {
    std::memset(out, 0, numbers() * sizeof(float));
    each_part(block_.prompt_length % 2, [&](const Part& part) {
        multiply_alone(gemm_kernels(),
                       {.m = part.rows,
                        .n = shape_.head_dim,
                        .k = part.keys,
                        .storage = shape_.storage,
                        .a = {scores + part.row * stride_ + part.column, stride_, 1},
                        .scale = static_cast<float>(scale),
                        .row_scales = row_scales == nullptr ? nullptr : row_scales + part.row,
                        .form = Form::kPanels,
                        .panels = b.layout.rows_of(b.words, part.start, part.key),
                        .c = out + part.row * shape_.head_dim,
                        .c_stride = shape_.head_dim,
                        .add = true});
    });
}

void BlockOfHead::to_keys(const float* scores, const float* a, double scale,
                          const FamilyLayout& layout, float* sums, int64_t stride) const {
    each_part(0, [&](const Part& part) {
        multiply_alone(gemm_kernels(),
                       {.m = shape_.head_dim,
                        .n = part.keys,
                        .k = part.rows,
                        .storage = shape_.storage,
                        .a = {a + part.row * shape_.head_dim, 1, shape_.head_dim},
                        .scale = static_cast<float>(scale),
                        .b = {scores + part.row * stride_ + part.column, stride_, 1},
                        .c = sums + layout.column_of(part.start) + part.key,
                        .c_stride = stride,
                        .add = true});
    });
}

BlockOfHead::Row BlockOfHead::row_at(const AttentionBlock::Span& span, int64_t index) const {
    const int64_t repeats = shape_.repeats(), row = row_of(span) + index;
    const int64_t end = block_.prompt_length + span.first - span.start + index / repeats + 1;
    return {row,
            (block_.first + row / repeats) * shape_.heads + head_ * repeats + row % repeats,
            row * stride_,
            first_seen(end, shape_.window) - skipped_,
            end - skipped_,
            block_.keys_of(span) - skipped_};
}

void BlockOfHead::Row::hide_others(float* scores) const {
    std::fill(scores + start, scores + start + first, 0.0F);
    std::fill(scores + start + end, scores + start + computed, 0.0F);
}

}  // namespace grpo::cpu
