// The queries of one block and one key head (attention.h), and their products with packed keys
// (attention_keys.h).
#pragma once

#include <cstdint>

#include "kernels/attention_keys.h"

namespace grpo::cpu {

/// Rows are queries beside each other, where those of a token's heads follow each other. Columns
/// are keys by their place in the sequence, from about the first one on that some row sees.
class BlockOfHead {
  public:
    BlockOfHead(const AttentionBlock& block, const AttentionShape& shape, int64_t head);

    int64_t rows() const { return block_.count * shape_.repeats(); }
    /// Numbers of all scores.
    int64_t scores() const { return rows() * stride_; }
    int64_t numbers() const { return rows() * shape_.head_dim; }

    /// [N, H, D] -> the block's rows [rows, D], and back.
    void gather(const float* from, float* to) const;
    void scatter(const float* from, float* to) const;

    /// scores = scale · a bᵀ of rows a [rows, D] and columns b of keys.
    void by_both(const float* a, const PackedHead& b, double scale, float* scores) const;
    /// out [rows, D] = scale · scores b with rows b of keys; each row of scores also times its own
    /// of `row_scales` where that is not null.
    void to_queries(const float* scores, const float* row_scales, const PackedHead& b, double scale,
                    float* out) const;
    /// sums [D, columns of the layout] += scale · aᵀ scores, of every key; rows of sums `stride`
    /// apart.
    void to_keys(const float* scores, const float* a, double scale, const FamilyLayout& layout,
                 float* sums, int64_t stride) const;

    /// A row, where its scores begin, and which of them are of keys that it sees, of all `computed`
    /// ones.
    struct Row {
        int64_t index, number;  // in the block, and in [N, H]
        int64_t start, first, end, computed;
        /// Zero for what it does not see.
        void hide_others(float* scores) const;
    };
    template <typename F>
    void each_row(F f) const {
        for (const AttentionBlock::Span& span : block_.spans) {
            for (int64_t i = 0; i < span.count * shape_.repeats(); ++i) f(row_at(span, i));
        }
    }

  private:
    Row row_at(const AttentionBlock::Span& span, int64_t index) const;
    int64_t place(int64_t query) const {
        return ((block_.first + query) * shape_.heads + head_ * shape_.repeats()) * shape_.head_dim;
    }
    int64_t row_of(const AttentionBlock::Span& span) const {
        return (span.first - block_.first) * shape_.repeats();
    }
    /// Keys [key, key + keys) of a sequence, whose scores begin at `column`, and the rows that may
    /// see them.
    struct Part {
        int64_t row, rows, start, key, keys, column;
    };
    template <typename F>
    void each_part(int64_t lent, F f) const;

    const AttentionBlock& block_;
    const AttentionShape& shape_;
    int64_t head_;
    int64_t first_;    // column that some row sees
    int64_t skipped_;  // columns that have no place in the scores
    int64_t stride_;   // from a row of scores to the next
};

}  // namespace grpo::cpu
