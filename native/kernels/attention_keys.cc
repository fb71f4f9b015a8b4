#include "kernels/attention_keys.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "kernels/parallel.h"
#include "kernels/row_kernels.h"

namespace grpo::cpu {

FamilyLayout::FamilyLayout(const AttentionFamily& family, const AttentionShape& shape)
    : dim_(shape.head_dim), storage_(shape.storage) {
    for (const AttentionBlock& block : family) {
        for (const AttentionBlock::Span& span : block.spans) {
            Sequence& sequence = sequences_[span.start];
            sequence.tokens = std::max(sequence.tokens, span.keys());
            sequence.prompt_start = block.prompt_start;
            sequence.prompt = block.prompt_length;
            // A prompt whose own queries are elsewhere is read all the same.
            if (block.prompt_length > 0) {
                Sequence& prompt = sequences_[block.prompt_start];
                prompt.tokens = std::max(prompt.tokens, block.prompt_length);
            }
        }
    }
    for (auto& [start, sequence] : sequences_) {
        sequence.column = columns_;
        sequence.row_word = row_words_;
        columns_ += panels_of(sequence.tokens) * kPanelColumns;
        row_words_ += panels_of(dim_) * row_panel_words(sequence);
    }
}

void FamilyLayout::pack_columns(const HeadRows<const float>& from, uint32_t* words) const {
    for (const auto& [start, sequence] : sequences_) {
        gemm_kernels().pack_panels(
            storage_, {from.at(start), 1, from.stride}, dim_, sequence.tokens,
            words + sequence.column / kPanelColumns * column_panel_words(), column_panel_words());
    }
}

void FamilyLayout::pack_rows(const HeadRows<const float>& from, uint32_t* words) const {
    for (const auto& [start, sequence] : sequences_) {
        uint32_t* to = words + sequence.row_word;
        const auto pack = [&](const Matrix& rows, int64_t count) {
            gemm_kernels().pack_panels(storage_, rows, count, dim_, to, row_panel_words(sequence));
        };
        const float *own = from.at(start), *own_end = from.at(start + sequence.tokens);
        if (sequence.lent() != 0) {
            const float* last = from.at(sequence.prompt_start + sequence.prompt - 1);
            pack({last, own - last, 1}, std::min<int64_t>(2, 1 + sequence.tokens));
            own += from.stride;
            to += steps_of(storage_, 2) * kPanelColumns;
        }
        const int64_t rest = (own_end - own) / from.stride;
        if (rest > 0) pack({own, from.stride, 1}, rest);
    }
}

Panels FamilyLayout::columns_of(const uint32_t* words, int64_t start, int64_t first) const {
    const int64_t panel = (column_of(start) + first) / kPanelColumns;
    return {words + panel * column_panel_words(), column_panel_words(), kPanelColumns};
}

Panels FamilyLayout::rows_of(const uint32_t* words, int64_t start, int64_t first) const {
    const Sequence& sequence = sequences_.at(start);
    const int64_t step = first / numbers_of_step(storage_);
    return {words + sequence.row_word + step * kPanelColumns, row_panel_words(sequence),
            kPanelColumns};
}

void FamilyLayout::add_turned(const float* sums, int64_t stride, const HeadRows<float>& to) const {
    std::vector<float> rows(kPanelColumns * dim_);
    for (const auto& [start, sequence] : sequences_) {
        for (int64_t token = 0; token < sequence.tokens; token += kPanelColumns) {
            const int64_t count = std::min(kPanelColumns, sequence.tokens - token);
            gemm_kernels().transpose(
                reinterpret_cast<const uint32_t*>(sums + sequence.column + token), stride, dim_,
                count, reinterpret_cast<uint32_t*>(rows.data()), dim_);
            for (int64_t i = 0; i < count; ++i)
                row_kernels().add(&rows[i * dim_], dim_, to.at(start + token + i));
        }
    }
}

PackedHeads::PackedHeads(const std::vector<FamilyLayout>& layouts, const AttentionShape& shape,
                         const float* x, Tokens tokens)
    : layouts_(layouts), heads_(shape.kv_heads) {
    int64_t words_of_all = 0;
    for (const FamilyLayout& layout : layouts) {
        for (int64_t head = 0; head < heads_; ++head) {
            begins_.push_back(words_of_all);
            words_of_all += tokens == Tokens::kColumns ? layout.column_words() : layout.row_words();
        }
    }
    memory_ = at::empty({words_of_all}, at::kInt);
    const int64_t stride = heads_ * shape.head_dim;
    const auto count = static_cast<int64_t>(begins_.size());
    parallel(count, 4 * words_of_all / std::max<int64_t>(1, count), [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
            const FamilyLayout& layout = layouts_[i / heads_];
            const HeadRows<const float> rows{x + i % heads_ * shape.head_dim, stride};
            uint32_t* out = words() + begins_[i];
            tokens == Tokens::kColumns ? layout.pack_columns(rows, out)
                                       : layout.pack_rows(rows, out);
        }
    });
}

}  // namespace grpo::cpu
