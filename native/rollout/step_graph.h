// A recorded decode step: what the device was told to do, kept as a graph and told again by one
// call, where a step of operators is hundreds of calls. Everything that it reads and writes must
// stay where it is. Through at::accelerator::Graph, for
// which libtorch 2.14 has no implementation for CUDA; not run on a device that has one.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

namespace grpo {

class StepGraph {
  public:
    /// Whether this libtorch and this device have graphs.
    static bool can_record(c10::Device device);
    /// Runs `step` once, so that libraries have what they allocate at first use, and records the
    /// second run. Throws DEVICE_UNAVAILABLE where that fails.
    StepGraph(c10::Device device, const std::function<void()>& step);
    ~StepGraph();
    void replay();

  private:
    struct Recorded;
    std::unique_ptr<Recorded> recorded_;
};

}  // namespace grpo
