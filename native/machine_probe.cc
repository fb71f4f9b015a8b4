#include "machine_probe.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <functional>

namespace grpo {
namespace {

constexpr int kTries = 4;  // the first one also wakes threads and fills pages
constexpr double kLongEnough = 0.02;
constexpr int64_t kLargest = 8192;

/// Seconds of one call; reading a number waits for the device.
double seconds_of(const std::function<at::Tensor()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work().flatten()[0].item<float>();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    return taken.count();
}

double fastest(const std::function<at::Tensor()>& work) {
    double best = seconds_of(work);
    for (int i = 1; i < kTries; ++i) best = std::min(best, seconds_of(work));
    return best;
}

/// y = x Wᵀ, as in a linear layer. The size grows until a product takes a while: without bf16
/// arithmetic a processor is a hundred times slower in bf16 than in fp32.
double gemm_gflops(const at::TensorOptions& options) {
    for (int64_t n = 256;; n *= 2) {
        const at::Tensor x = at::ones({n, n}, options), weight = at::ones({n, n}, options);
        const auto work = [&] { return at::mm(x, weight.t()); };
        work();
        if (seconds_of(work) < kLongEnough && n < kLargest) continue;
        return 2.0 * static_cast<double>(n) * static_cast<double>(n * n) / fastest(work) / 1e9;
    }
}

}  // namespace

MachineProbe probe_machine(const std::string& device, int threads) {
    const int before = at::get_num_threads();
    if (threads > 0) at::set_num_threads(threads);
    const auto options = at::TensorOptions().device(at::Device(device));
    const bool accelerator = !at::Device(device).is_cpu();
    const int64_t numbers = int64_t{1} << (accelerator ? 30 : 27);  // fp32
    MachineProbe probe;
    {
        const at::Tensor memory = at::ones({numbers}, options.dtype(at::kFloat));
        const double seconds = fastest([&] { return memory.sum(); });
        probe.read_gb_per_second = 4.0 * static_cast<double>(numbers) / seconds / 1e9;
    }
    probe.gemm_gflops_float32 = gemm_gflops(options.dtype(at::kFloat));
    probe.gemm_gflops_bfloat16 = gemm_gflops(options.dtype(at::kBFloat16));
    at::set_num_threads(before);
    return probe;
}

}  // namespace grpo
