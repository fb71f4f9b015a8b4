// Loops over threads. To wake the others costs microseconds, so a loop of little work stays on the
// calling thread: tiny models decode on one.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace grpo::cpu {

constexpr int64_t kWorkOfThread = int64_t{1} << 18;  // multiplications that outweigh waking one

/// body(begin, end) over [0, count), where one item takes `cost` multiplications.
template <typename F>
void parallel(int64_t count, int64_t cost, const F& body) {
    const int64_t grain = std::max<int64_t>(1, kWorkOfThread / std::max<int64_t>(1, cost));
    if (count <= grain) return body(int64_t{0}, count);
    at::parallel_for(0, count, grain, body);
}

}  // namespace grpo::cpu
