// From logits to drawn tokens, on the device and without reading anything back. The order is that
// of transformers' generate: repetition penalty, restrictions, temperature, top-k, top-p, min-p,
// then one draw by inverse CDF with a given uniform.
#pragma once

#include <ATen/core/Tensor.h>

#include "batch.h"
#include "kernels/row_sampler.h"

namespace grpo {

/// What a draw depends on beside the logits. [n, V] each, undefined when nothing asks for it.
struct RowMarks {
    at::Tensor seen;         // bool: the tokens of prompt and completion so far
    at::Tensor replacement;  // fp32: a score in place of the model's, NaN where that stays

    RowMarks narrow(int64_t first, int64_t count) const;
};

/// Writes what a restriction makes of one row [V] of RowMarks::replacement.
void write_restriction(const cpu::Restriction& restriction, const at::Tensor& row);

/// Whether top-p first looks at the likeliest tokens alone, because to sort the whole vocabulary
/// takes an accelerator longer than all else of a draw.
bool draws_from_candidates(const at::Tensor& logits, const Drawing& drawing);

/// logits [n, V] fp32 -> scores [n, V] whose softmax is the sampling distribution. `missing`: top-p
/// looks at the likeliest tokens alone, and writes there [n] more than 0 where it had to see more.
at::Tensor process_logits(const at::Tensor& logits, const RowMarks& marks, const Drawing& drawing,
                          at::Tensor* missing = nullptr);

/// [2, n] fp64: tokens, and their log softmax(logits / temperature) before any filter; from
/// candidates [3, n], where those with more than 0 in the last row must be drawn again without.
/// uniforms [n] fp64 in [0, 1); unused when greedy.
at::Tensor draw(const at::Tensor& logits, const RowMarks& marks, const at::Tensor& uniforms,
                const Drawing& drawing, bool of_candidates);

}  // namespace grpo
