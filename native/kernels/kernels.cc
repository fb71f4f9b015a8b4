#include "kernels/kernels.h"

namespace grpo::cpu {

// Each is defined by its kernels_<instruction set>.cc.
extern const Kernels kGenericKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels, kAvx512Kernels, kAvx512Bf16Kernels;
#endif

const Kernels& kernels_of(InstructionSet set) {
    switch (set) {
#if defined(__x86_64__)
        case InstructionSet::kAvx512Bf16:
            return kAvx512Bf16Kernels;
        case InstructionSet::kAvx512:
            return kAvx512Kernels;
        case InstructionSet::kAvx2:
            return kAvx2Kernels;
#endif
        default:
            return kGenericKernels;
    }
}

const RowKernels& row_kernels() { return kernels_of(instruction_set()).rows; }
const GemmKernels& gemm_kernels() { return kernels_of(instruction_set()).gemm; }

}  // namespace grpo::cpu
