#include "cpu/fused.h"

namespace grpo::cpu {

// One of each file that exists for this architecture.
extern const FusedKernels kFusedGeneric;
#if defined(__x86_64__)
extern const FusedKernels kFusedAvx2, kFusedAvx512;
#endif

const FusedKernels& fused_kernels() {
#if defined(__x86_64__)
    static const FusedKernels& chosen = []() -> const FusedKernels& {
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
            return kFusedAvx512;
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kFusedAvx2;
        return kFusedGeneric;
    }();
    return chosen;
#else
    return kFusedGeneric;
#endif
}

}  // namespace grpo::cpu
