// Random tensors that are functions of (seed, name): the same on every device and for every order
// of creation.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace grpo {

/// Uniform in ±bound.
void fill_uniform(const at::Tensor& destination, const std::string& name, uint64_t seed,
                  double bound);
void fill_normal(const at::Tensor& destination, const std::string& name, uint64_t seed,
                 double deviation);

}  // namespace grpo
