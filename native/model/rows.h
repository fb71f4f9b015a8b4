// Gathering rows, differentiable. One place, because the obvious operators do not fit: the backward
// of at::index adds in no fixed order on a CPU, and at::index_select has no meta kernel.
#pragma once

#include <ATen/core/Tensor.h>

namespace grpo {

/// rows[index] along the first axis; index [n] int64, repeats allowed. The gradients of a row that
/// comes twice are summed in order; on an accelerator while a Deterministic lives, in float32.
at::Tensor take_rows(const at::Tensor& rows, const at::Tensor& index);

/// rows[forward], where an index of rows.size(0) gives a row of zeros, for one-to-one maps whose
/// inverse is `backward` (in the same form): then the gradient is a gather too.
at::Tensor repack_rows(const at::Tensor& rows, const at::Tensor& forward,
                       const at::Tensor& backward);

/// x [n, V] with `columns` [n, m] in place of those at index [m], which are distinct.
at::Tensor replace_columns(const at::Tensor& x, const at::Tensor& index, const at::Tensor& columns);

}  // namespace grpo
