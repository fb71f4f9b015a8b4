#include "model/random_fill.h"

#include "device.h"
#include "random.h"

namespace grpo {
namespace {

/// Fills `destination` from a function of the element's index, computed in float64 on the host.
template <typename F>
void fill(const at::Tensor& destination, F element) {
    if (destination.is_meta()) return;
    std::vector<double> values(destination.numel());
    for (size_t i = 0; i < values.size(); ++i) values[i] = element(i);
    destination.copy_(to_device(values, at::kCPU).view(destination.sizes()));
}

}  // namespace

void fill_uniform(const at::Tensor& destination, const std::string& name, uint64_t seed,
                  double bound) {
    const uint32_t stream = hash_name(name);
    fill(destination,
         [&](uint64_t i) { return (2 * element_uniforms(seed, stream, i)[0] - 1) * bound; });
}

void fill_normal(const at::Tensor& destination, const std::string& name, uint64_t seed,
                 double deviation, uint64_t first) {
    const uint32_t stream = hash_name(name);
    fill(destination,
         [&](uint64_t i) { return deviation * element_normal(seed, stream, first + i); });
}

}  // namespace grpo
