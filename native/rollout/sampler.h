// From logits to drawn tokens, on the device and without reading anything back. The order is that
// of transformers' generate: repetition penalty, temperature, top-k, top-p, min-p, then one draw by
// inverse CDF with a given uniform.
#pragma once

#include <ATen/core/Tensor.h>

#include "batch.h"

namespace grpo {

/// logits [n, V] fp32 -> scores [n, V] whose softmax is the sampling distribution. `seen` [n, V]
/// bool marks the tokens of prompt and completion so far; undefined when there is no penalty.
at::Tensor process_logits(const at::Tensor& logits, const at::Tensor& seen,
                          const SampleRequest& request);

/// [2, n] fp64: tokens, and their log softmax(logits / temperature) before any filter. uniforms [n]
/// fp64 in [0, 1); unused when greedy.
at::Tensor draw(const at::Tensor& logits, const at::Tensor& seen, const at::Tensor& uniforms,
                const SampleRequest& request);

}  // namespace grpo
