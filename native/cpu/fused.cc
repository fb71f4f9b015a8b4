#include "cpu/fused.h"

#include "cpu/instruction_set.h"

namespace grpo::cpu {

// One of each file that exists for this architecture.
extern const FusedKernels kFusedGeneric;
#if defined(__x86_64__)
extern const FusedKernels kFusedAvx2, kFusedAvx512;
#endif

const FusedKernels& fused_kernels() {
    switch (instruction_set()) {
#if defined(__x86_64__)
        case InstructionSet::kAvx512Bf16:
        case InstructionSet::kAvx512:
            return kFusedAvx512;
        case InstructionSet::kAvx2:
            return kFusedAvx2;
#endif
        default:
            return kFusedGeneric;
    }
}

}  // namespace grpo::cpu
