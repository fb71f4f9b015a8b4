// Which of the instruction sets that there are kernels for is used: the most that the processor
// has, or a lower one that the environment variable GRPO_INSTRUCTION_SET names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace grpo::cpu {

/// Each includes those before it.
enum class InstructionSet : uint8_t { kGeneric, kAvx2, kAvx512, kAvx512Bf16 };

/// Decided at the first call and the same ever after. BAD_OPTION where the variable names a set
/// that the processor does not have.
InstructionSet instruction_set();

/// "generic", "avx2", "avx512" or "avx512bf16".
std::string name_of(InstructionSet set);

/// Names of those that the processor has, the least first.
std::vector<std::string> instruction_set_names();

}  // namespace grpo::cpu
