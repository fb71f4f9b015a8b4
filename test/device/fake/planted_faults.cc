#include "planted_faults.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/Functions.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>

#include <functional>
#include <map>

#include "streams.h"

namespace fake {
namespace {

const c10::Device kFirst(c10::kPrivateUse1, 0), kSecond(c10::kPrivateUse1, 1);

at::Tensor ones(c10::Device device) { return at::ones({1000}, at::TensorOptions(device)); }
at::Tensor pinned(double value) {
    return at::full({1000}, value, at::TensorOptions().pinned_memory(true));
}
double total(const at::Tensor& x) { return x.sum().item<double>(); }

double host_access(bool faulty) {
    const at::Tensor x = ones(kFirst);
    return (faulty ? x : x.cpu()).const_data_ptr<float>()[7];
}

/// The right way and the wrong one of the rest differ by one line each.
double read_too_early(bool faulty) {
    const at::Tensor there = ones(kFirst), here = pinned(5);
    here.copy_(there, /*non_blocking=*/true);
    if (!faulty) at::accelerator::synchronizeDevice(0);
    return here.const_data_ptr<float>()[7];
}

double overwrite_too_early(bool faulty) {
    const at::Tensor here = pinned(1), there = at::empty({1000}, at::TensorOptions(kFirst));
    there.copy_(here, /*non_blocking=*/true);
    c10::Event copied(c10::kPrivateUse1);
    copied.record(current_stream(0));
    if (!faulty) copied.synchronize();
    here.fill_(5);
    return total(there) / 1000;
}

double streams_without_event(bool faulty) {
    at::Tensor x;
    c10::Event made(c10::kPrivateUse1);
    {
        const c10::StreamGuard guard(pooled_stream(0));
        x = ones(kFirst);
        made.record(current_stream(0));
    }
    if (!faulty) made.block(current_stream(0));
    return total(x) / 1000;
}

double uninitialised_memory(bool faulty) {
    const at::Tensor x = at::empty({1000}, at::TensorOptions(kFirst));
    if (!faulty) x.fill_(1);
    return total(x) / 1000;
}

double host_tensor_among_device_tensors(bool faulty) {
    const at::Tensor x = ones(kFirst);
    return total(x.mul(ones(faulty ? c10::Device(c10::kCPU) : kFirst))) / 1000;
}

double host_indices(bool faulty) {
    const at::Tensor index = at::zeros({3}, at::TensorOptions(at::kLong));
    return total(ones(kFirst).index({faulty ? index : index.to(kFirst)})) / 3;
}

double two_devices(bool faulty) {
    return total(ones(kFirst).mul(ones(faulty ? kSecond : kFirst))) / 1000;
}

const std::map<std::string, double (*)(bool)> kFaults{
    {"host access", host_access},
    {"pinned memory read before its copy is done", read_too_early},
    {"pinned memory overwritten before its copy is done", overwrite_too_early},
    {"two streams without an event", streams_without_event},
    {"uninitialised memory", uninitialised_memory},
    {"a tensor of the host among the device's", host_tensor_among_device_tensors},
    {"indices on the host", host_indices},
    {"tensors on two devices", two_devices},
};

}  // namespace

std::vector<std::string> fault_names() {
    std::vector<std::string> names;
    for (const auto& [name, plant] : kFaults) names.push_back(name);
    return names;
}
double plant_fault(const std::string& name, bool faulty) {
    TORCH_CHECK(kFaults.contains(name), "there is no fault named ", name);
    return kFaults.at(name)(faulty);
}

}  // namespace fake
