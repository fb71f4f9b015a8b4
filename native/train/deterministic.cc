#include "train/deterministic.h"

#include <ATen/Context.h>

#include <cstdlib>
#include <mutex>
#include <string_view>

namespace grpo {
namespace {

std::mutex mutex;
int living = 0;

/// cuBLAS refuses under any other setting. The stub chooses the first, unless the user has chosen.
bool cublas_repeats() {
    const char* workspace = std::getenv("CUBLAS_WORKSPACE_CONFIG");
    if (workspace == nullptr) return false;
    return std::string_view(workspace) == ":4096:8" || std::string_view(workspace) == ":16:8";
}

void set(bool deterministic) {
    at::Context& context = at::globalContext();
    // Without a mere warning, under which the backward of attention stays as it is.
    context.setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
    // Or every new tensor would be filled.
    context.setDeterministicFillUninitializedMemory(false);
}

}  // namespace

Deterministic::Deterministic(c10::Device device)
    : counts_(!device.is_cpu() && !device.is_meta() && (!device.is_cuda() || cublas_repeats())) {
    const std::lock_guard lock(mutex);
    if (counts_ && living++ == 0) set(true);
}

Deterministic::~Deterministic() {
    const std::lock_guard lock(mutex);
    if (counts_ && --living == 0) set(false);
}

}  // namespace grpo
