// What reached the device since the library was opened.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace fake {

struct Counts {
    /// Operators that an accelerator runs as kernels, copies within a device among them.
    std::atomic<int64_t> kernels{0};
    std::atomic<int64_t> graph_replays{0};
    std::atomic<int64_t> allocations{0};
    /// From the host to a device, and back.
    std::atomic<int64_t> uploads{0}, upload_bytes{0}, read_backs{0}, read_back_bytes{0};
    /// Those of either direction whose host memory is not pinned: the driver copies it once more.
    std::atomic<int64_t> pageable_copies{0};
    /// Whenever the host waited for the device, whatever for.
    std::atomic<int64_t> synchronisations{0};
};
extern Counts counts;

/// Adds to the count of an operator, of those that ran as kernels or those that made the host wait.
void count_kernel(const std::string& name);
void count_waiting(const std::string& name);
std::map<std::string, int64_t> kernel_names();
std::map<std::string, int64_t> waiting_names();

}  // namespace fake
