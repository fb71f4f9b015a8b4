#include "device.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

namespace grpo {

void make_current(at::Device device) {
    if (device.is_cpu() || device.is_meta()) return;
    const c10::DeviceIndex index = std::max<c10::DeviceIndex>(device.index(), 0);
    c10::impl::VirtualGuardImpl(device.type()).setDevice({device.type(), index});
}

}  // namespace grpo
