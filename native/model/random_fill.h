// Random tensors that are functions of (seed, name): the same on every device and for every order
// of creation. Large ones an accelerator fills itself, with what its log and cos give.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace grpo {

/// Uniform in ±bound.
void fill_uniform(const at::Tensor& destination, const std::string& name, uint64_t seed,
                  double bound);
/// `first`: the place of the destination's first element in the tensor of that name.
void fill_normal(const at::Tensor& destination, const std::string& name, uint64_t seed,
                 double deviation, uint64_t first = 0);

}  // namespace grpo
