// What an update sums must not depend on which of a device's threads came first: the same seed then
// gives the same weights. On an accelerator libtorch adds by atomics where it is not told
// otherwise, to rows that come twice and in the backward of attention.
#pragma once

#include <c10/core/Device.h>

namespace grpo {

/// While one lives, operators on accelerators sum in a fixed order. libtorch knows this only for
/// the whole process, so other threads meet it too; what samples asks for no operator that would
/// refuse. Does nothing for a CPU, which has no other order.
class Deterministic {
  public:
    explicit Deterministic(c10::Device device);
    ~Deterministic();
    Deterministic(const Deterministic&) = delete;
    Deterministic& operator=(const Deterministic&) = delete;

  private:
    bool counts_;
};

}  // namespace grpo
