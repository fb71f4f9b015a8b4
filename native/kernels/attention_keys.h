// Keys or values as the products of attention read them (attention.h), packed once for all blocks:
// the tokens of a family's sequences and of one head as the columns of [D, tokens], or as the rows
// of [tokens, D].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <vector>

#include "kernels/attention_shape.h"

namespace grpo::cpu {

/// The rows of one key head: a row's D numbers at data + row · stride.
template <typename T>
struct HeadRows {
    T* data;
    int64_t stride;
    T* at(int64_t row) const { return data + row * stride; }
};

/// Where the tokens of a family's sequences lie in packed memory, the same for each head. A
/// sequence is named by its first token. Own tokens of a completion begin at an even place of the
/// sequence, as they do in a cache (attend_rows.h): a prompt of odd length lends its last one.
class FamilyLayout {
  public:
    FamilyLayout(const AttentionFamily& family, const AttentionShape& shape);

    /// Columns of all sequences, each of which begins with a panel.
    int64_t columns() const { return columns_; }
    /// Words of one packed form of all sequences.
    int64_t column_words() const { return columns_ / kPanelColumns * column_panel_words(); }
    int64_t row_words() const { return row_words_; }

    void pack_columns(const HeadRows<const float>& from, uint32_t* words) const;
    void pack_rows(const HeadRows<const float>& from, uint32_t* words) const;

    /// Of what was packed into `words`: a sequence from its token `first` on, a multiple of 32.
    /// Rows are counted from the token that the prompt lends.
    Panels columns_of(const uint32_t* words, int64_t start, int64_t first) const;
    Panels rows_of(const uint32_t* words, int64_t start, int64_t first) const;
    /// The column of a sequence's first token.
    int64_t column_of(int64_t start) const { return sequences_.at(start).column; }

    /// to [token] += sums [D, columns()]ᵀ, rows of sums `stride` apart.
    void add_turned(const float* sums, int64_t stride, const HeadRows<float>& to) const;

  private:
    struct Sequence {
        int64_t tokens = 0, prompt_start = 0, prompt = 0;
        int64_t column = 0, row_word = 0;  // where it begins
        int64_t lent() const { return prompt % 2; }
    };

    int64_t column_panel_words() const { return steps_of(storage_, dim_) * kPanelColumns; }
    int64_t row_panel_words(const Sequence& sequence) const {
        return steps_of(storage_, sequence.lent() + sequence.tokens) * kPanelColumns;
    }

    int64_t dim_;
    Storage storage_;
    int64_t columns_ = 0, row_words_ = 0;
    std::map<int64_t, Sequence> sequences_;  // by their first token
};

/// What was packed of one head.
struct PackedHead {
    const FamilyLayout& layout;
    const uint32_t* words;
};

/// One form of all heads.
class PackedHeads {
  public:
    enum class Tokens : uint8_t { kColumns, kRows };
    /// x [N, K, D].
    PackedHeads(const std::vector<FamilyLayout>& layouts, const AttentionShape& shape,
                const float* x, Tokens tokens);
    PackedHead head(int64_t family, int64_t head) const {
        return {layouts_[family], words() + begins_[family * heads_ + head]};
    }

  private:
    uint32_t* words() const { return static_cast<uint32_t*>(memory_.data_ptr()); }

    const std::vector<FamilyLayout>& layouts_;
    int64_t heads_;
    at::Tensor memory_;
    std::vector<int64_t> begins_;  // of the heads of each family
};

}  // namespace grpo::cpu
