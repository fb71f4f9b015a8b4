// Gradient clipping by global norm and AdamW (Loshchilov & Hutter 2019), as
// torch.nn.utils.clip_grad_norm_ and torch.optim.AdamW compute them:
//   c = min(1, max_norm / (|g| + 1e-6)),  g <- c g
//   p <- p (1 - lr wd);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
//   p <- p - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// lr and wd are those of the parameter's group: under LoRA+ (Hayou et al. 2024) B learns faster
// than A; biases and norms never decay.
#pragma once

#include "batch.h"
#include "device.h"
#include "optim/parameters.h"

namespace grpo {

/// One step from parameters.gradient, which is clipped in place. Reads back once: the gradient
/// norm, because a step on a non-finite gradient must not happen.
StepResult adamw_step(Parameters& parameters, const AdamWOptions& options, ReadBack& read_back);

}  // namespace grpo
