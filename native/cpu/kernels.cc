#include "cpu/kernels.h"

namespace grpo::cpu {

// One of each file that exists for this architecture.
extern const Kernels kGenericKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels, kAvx512Kernels, kAvx512Bf16Kernels;
#endif

const Kernels& kernels() {
#if defined(__x86_64__)
    static const Kernels& chosen = []() -> const Kernels& {
        const bool avx512 =
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
        if (avx512 && __builtin_cpu_supports("avx512bf16")) return kAvx512Bf16Kernels;
        if (avx512) return kAvx512Kernels;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2Kernels;
        return kGenericKernels;
    }();
    return chosen;
#else
    return kGenericKernels;
#endif
}

}  // namespace grpo::cpu
