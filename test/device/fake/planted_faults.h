// Mistakes that code for a device can make, each made once: what the device must make visible.
#pragma once

#include <string>
#include <vector>

namespace fake {

std::vector<std::string> fault_names();
/// Makes the mistake, or not: the number that comes of it. Throws what libtorch or the device
/// throws; ends the process where the device does. Throws where there is no such fault.
double plant_fault(const std::string& name, bool faulty);

}  // namespace fake
