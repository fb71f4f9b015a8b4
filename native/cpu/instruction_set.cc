#include "cpu/instruction_set.h"

namespace grpo::cpu {

InstructionSet instruction_set() {
#if defined(__x86_64__)
    static const InstructionSet found = [] {
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
            return InstructionSet::kGeneric;
        const bool avx512 =
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
        if (!avx512) return InstructionSet::kAvx2;
        return __builtin_cpu_supports("avx512bf16") ? InstructionSet::kAvx512Bf16
                                                    : InstructionSet::kAvx512;
    }();
    return found;
#else
    return InstructionSet::kGeneric;
#endif
}

}  // namespace grpo::cpu
