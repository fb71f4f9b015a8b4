// Loops over threads. To begin one on other threads costs time, so a loop of little work stays on
// the calling thread.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "kernels/team.h"

namespace grpo::cpu {

// Multiplications that outweigh waking a thread, and a part for a thread that waits for one.
constexpr int64_t kWorkOfThread = int64_t{1} << 18;
constexpr int64_t kWorkOfPart = int64_t{1} << 16;

/// body(begin, end) over [0, count), where one item takes `cost` multiplications.
template <typename F>
void parallel(int64_t count, int64_t cost, const F& body) {
    Team* team = Team::current();
    const int64_t work = team ? kWorkOfPart : kWorkOfThread;
    const int64_t grain = std::max<int64_t>(1, work / std::max<int64_t>(1, cost));
    if (count <= grain) return body(int64_t{0}, count);
    if (!team) return at::parallel_for(0, count, grain, body);
    const auto call = [](const void* context, int64_t begin, int64_t end) {
        (*static_cast<const F*>(context))(begin, end);
    };
    team->run(count, grain, call, &body);
}

/// The index of the calling thread in such a loop.
inline int thread_index() {
    const int helper = Team::thread_index();
    return helper > 0 ? helper : at::get_thread_num();
}

}  // namespace grpo::cpu
