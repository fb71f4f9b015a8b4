#include "counts.h"

#include <mutex>

namespace fake {
namespace {

struct Names {
    std::mutex mutex;
    std::map<std::string, int64_t> counts;

    void add(const std::string& name) {
        const std::lock_guard lock(mutex);
        ++counts[name];
    }
    std::map<std::string, int64_t> all() {
        const std::lock_guard lock(mutex);
        return counts;
    }
} kernels, waiting;

}  // namespace

Counts counts;

void count_kernel(const std::string& name) {
    ++counts.kernels;
    kernels.add(name);
}
void count_waiting(const std::string& name) {
    ++counts.synchronisations;
    waiting.add(name);
}
std::map<std::string, int64_t> kernel_names() { return kernels.all(); }
std::map<std::string, int64_t> waiting_names() { return waiting.all(); }

}  // namespace fake
