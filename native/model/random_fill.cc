#include "model/random_fill.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <array>

#include "device.h"
#include "kernels/parallel.h"
#include "random.h"

namespace grpo {
namespace {

constexpr int64_t kCost = 200;  // multiplications that a number takes
/// From here on an accelerator computes the numbers itself, so many at a time: small tensors are
/// then those of the CPU to the bit, and a model of billions of weights takes seconds.
constexpr int64_t kOnDevice = int64_t{1} << 22;

/// Fills `destination` from a function of the element's index, computed in float64 on the host.
template <typename F>
void fill_on_host(const at::Tensor& destination, F element) {
    if (destination.is_meta()) return;
    std::vector<double> values(destination.numel());
    cpu::parallel(destination.numel(), kCost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) values[i] = element(static_cast<uint64_t>(i));
    });
    destination.copy_(to_device(values, at::kCPU).view(destination.sizes()));
}

/// Metal has no float64.
bool fills_on_device(const at::Tensor& destination) {
    return !destination.is_cpu() && !destination.is_mps() && !destination.is_meta() &&
           destination.is_contiguous() && destination.numel() >= kOnDevice;
}

/// philox() of random.h, word by word in tensors of int64.
std::array<at::Tensor, 4> philox_blocks(std::array<at::Tensor, 4> counter, uint64_t key) {
    const auto low = [](const at::Tensor& x) { return x.bitwise_and(0xFFFFFFFF); };
    const auto high = [&](const at::Tensor& x) { return low(x.bitwise_right_shift(32)); };
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const at::Tensor p0 = counter[0] * int64_t{0xD2511F53};
        const at::Tensor p1 = counter[2] * int64_t{0xCD9E8D57};
        counter = {high(p1).bitwise_xor(counter[1]).bitwise_xor(int64_t{k0}), low(p1),
                   high(p0).bitwise_xor(counter[3]).bitwise_xor(int64_t{k1}), low(p0)};
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return counter;
}

/// element_normal() of elements first, first + 1, ..., in float64.
at::Tensor normals_on(at::Device device, uint64_t seed, uint32_t name_hash, uint64_t first,
                      int64_t count) {
    const auto options = at::TensorOptions().dtype(at::kLong).device(device);
    const auto word = [&](uint32_t value) { return at::full({}, int64_t{value}, options); };
    const auto begin = static_cast<int64_t>(first);
    const at::Tensor index = at::arange(begin, begin + count, options);
    const auto block = philox_blocks({index.bitwise_and(0xFFFFFFFF), index.bitwise_right_shift(32),
                                      word(name_hash), word(kElementStream)},
                                     seed);
    const auto uniform = [](const at::Tensor& a, const at::Tensor& b) {
        const at::Tensor bits = a.bitwise_left_shift(16).bitwise_or(b.bitwise_right_shift(16));
        return bits.to(at::kDouble) * 0x1.0p-48;
    };
    const at::Tensor radius = ((1 - uniform(block[0], block[1])).log() * -2).sqrt();
    return radius * (uniform(block[2], block[3]) * kTwoPi).cos();
}

}  // namespace

void fill_uniform(const at::Tensor& destination, const std::string& name, uint64_t seed,
                  double bound) {
    const uint32_t stream = hash_name(name);
    fill_on_host(destination, [&](uint64_t i) {
        return (2 * element_uniforms(seed, stream, i)[0] - 1) * bound;
    });
}

void fill_normal(const at::Tensor& destination, const std::string& name, uint64_t seed,
                 double deviation, uint64_t first) {
    const uint32_t stream = hash_name(name);
    if (!fills_on_device(destination)) {
        return fill_on_host(destination, [&](uint64_t i) {
            return deviation * element_normal(seed, stream, first + i);
        });
    }
    const at::Tensor flat = destination.view({-1});
    for (int64_t begin = 0; begin < flat.numel(); begin += kOnDevice) {
        const int64_t count = std::min(kOnDevice, flat.numel() - begin);
        const at::Tensor values =
            normals_on(destination.device(), seed, stream, first + begin, count);
        flat.narrow(0, begin, count).copy_(values * deviation);
    }
}

}  // namespace grpo
