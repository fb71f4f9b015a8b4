#include "cpu/instruction_set.h"

#include <algorithm>
#include <cstdlib>

#include "error.h"

namespace grpo::cpu {
namespace {

constexpr const char* kVariable = "GRPO_INSTRUCTION_SET";
constexpr const char* kNames[] = {"generic", "avx2", "avx512", "avx512bf16"};

InstructionSet of_processor() {
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

InstructionSet chosen() {
    const char* wanted = std::getenv(kVariable);
    if (wanted == nullptr || *wanted == '\0') return of_processor();
    const std::vector<std::string> names = instruction_set_names();
    const auto found = std::find(names.begin(), names.end(), wanted);
    if (found != names.end()) return static_cast<InstructionSet>(found - names.begin());
    std::string possible;
    for (const std::string& name : names) possible += (possible.empty() ? "" : ", ") + name;
    throw EngineError("BAD_OPTION",
                      std::string(kVariable) + " is \"" + wanted +
                          "\"; this processor has kernels for: " + possible,
                      std::string("set ") + kVariable + " to one of these, or unset it");
}

}  // namespace

InstructionSet instruction_set() {
    static const InstructionSet set = chosen();
    return set;
}

std::string name_of(InstructionSet set) { return kNames[static_cast<size_t>(set)]; }

std::vector<std::string> instruction_set_names() {
    return {kNames, kNames + static_cast<size_t>(of_processor()) + 1};
}

}  // namespace grpo::cpu
