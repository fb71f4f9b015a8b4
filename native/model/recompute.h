// Activation recomputation, or gradient checkpointing (Chen et al. 2016): keep a block's input only
// and compute the block again in the backward. Costs one more forward, changes nothing but memory.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>

namespace grpo {

using Block = std::function<at::Tensor(const at::Tensor&)>;

/// block(input), without the graph between. The block must own all it needs until the backward and
/// draw its random numbers from `generator`, which is set back for the second run.
at::Tensor recomputed(const at::Tensor& input, Block block,
                      const std::optional<at::Generator>& generator);

}  // namespace grpo
