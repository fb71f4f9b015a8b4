#include "kernels/instruction_set.h"

#include <cstdlib>
#include <string>

#include "error.h"

namespace grpo::cpu {
namespace {

constexpr const char* kVariable = "GRPO_INSTRUCTION_SET";

InstructionSet chosen() {
    const char* wanted = std::getenv(kVariable);
    const InstructionSet most = processor_instruction_set();
    if (wanted == nullptr || *wanted == '\0') return most;
    std::string possible;
    for (int i = 0; i <= static_cast<int>(most); ++i) {
        const auto set = static_cast<InstructionSet>(i);
        if (std::string(name_of(set)) == wanted) return set;
        possible += (i == 0 ? "" : ", ") + std::string(name_of(set));
    }
    const std::string variable = kVariable;
    throw EngineError(
        "BAD_OPTION",
        variable + " is \"" + wanted + "\"; this processor has kernels for: " + possible,
        "set " + variable + " to one of these, or unset it");
}

}  // namespace

const char* name_of(InstructionSet set) {
    switch (set) {
        case InstructionSet::kGeneric:
            return "generic";
        case InstructionSet::kAvx2:
            return "avx2";
        case InstructionSet::kAvx512:
            return "avx512";
        case InstructionSet::kAvx512Bf16:
            return "avx512bf16";
    }
    return "";
}

InstructionSet processor_instruction_set() {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return InstructionSet::kGeneric;
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (!avx512) return InstructionSet::kAvx2;
    return __builtin_cpu_supports("avx512bf16") ? InstructionSet::kAvx512Bf16
                                                : InstructionSet::kAvx512;
#else
    return InstructionSet::kGeneric;
#endif
}

InstructionSet instruction_set() {
    static const InstructionSet set = chosen();
    return set;
}

}  // namespace grpo::cpu
