// Keys and values of one head as the products of attention read them: keys are the columns of
// panels, values the rows, two of them a step in bf16. Tokens are added one by one; what lies
// before stays where it is when there is more room.
#pragma once

#include <cstdint>

#include "kernels/gemm.h"

namespace grpo::cpu {

class HeadLayout {
  public:
    HeadLayout(int64_t head_dim, Storage storage) : dim_(head_dim), storage_(storage) {}

    int64_t head_dim() const { return dim_; }
    Storage storage() const { return storage_; }
    /// Words that `tokens` tokens take.
    int64_t key_words(int64_t tokens) const { return panels_of(tokens) * panel_words(); }
    int64_t value_words(int64_t tokens) const {
        return steps_of(storage_, tokens) * value_columns();
    }

    Panels keys(const uint32_t* words) const { return {words, panel_words(), kPanelColumns}; }
    Panels values(const uint32_t* words) const { return {words, kPanelColumns, value_columns()}; }

    /// k and v [D]. What an even place has beside it is zero until it is written.
    void store(uint32_t* keys, uint32_t* values, int64_t place, const float* k,
               const float* v) const;
    /// The token at an even place of one cache into the first place of another.
    void copy_to_first(const uint32_t* keys, const uint32_t* values, int64_t place,
                       uint32_t* to_keys, uint32_t* to_values) const;

  private:
    int64_t panel_words() const { return steps_of(storage_, dim_) * kPanelColumns; }
    int64_t value_columns() const { return panels_of(dim_) * kPanelColumns; }

    int64_t dim_;
    Storage storage_;
};

}  // namespace grpo::cpu
