#include "rollout/step_graph.h"

#include <ATen/DeviceAccelerator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "error.h"

// An older libtorch has no graphs of accelerators; steps then run as they are.
#if __has_include(<ATen/accelerator/Graph.h>)
#include <ATen/accelerator/Graph.h>
#define GRPO_HAS_GRAPHS 1
#endif

namespace grpo {

#ifdef GRPO_HAS_GRAPHS

struct StepGraph::Recorded {
    at::accelerator::Graph graph;
};

bool StepGraph::can_record(c10::Device device) {
    return !device.is_cpu() && !device.is_meta() && at::has_graph_impl(device.type());
}

StepGraph::StepGraph(c10::Device device, const std::function<void()>& step)
    : recorded_(std::make_unique<Recorded>()) {
    const c10::DeviceIndex index = std::max<c10::DeviceIndex>(device.index(), 0);
    // Nothing can be recorded on the default stream.
    const c10::StreamGuard stream(
        c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool({device.type(), index}));
    try {
        at::accelerator::synchronizeDevice(index);
        step();
        at::accelerator::synchronizeDevice(index);
        recorded_->graph.capture_begin();
        step();
        recorded_->graph.capture_end();
    } catch (const c10::Error& error) {
        throw EngineError(
            "DEVICE_UNAVAILABLE",
            std::string("a decode step could not be recorded: ") + error.what_without_backtrace(),
            "leave graphCapture off");
    }
}

void StepGraph::replay() { recorded_->graph.replay(); }

#else

struct StepGraph::Recorded {};
bool StepGraph::can_record(c10::Device /*device*/) { return false; }
StepGraph::StepGraph(c10::Device /*device*/, const std::function<void()>& /*step*/) {}
void StepGraph::replay() {}

#endif

StepGraph::~StepGraph() = default;

}  // namespace grpo
