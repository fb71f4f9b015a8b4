// Which of the instruction sets that there are kernels for is used: the most that the processor
// has, or a lower one that the environment variable GRPO_INSTRUCTION_SET names.
#pragma once

#include <cstdint>

namespace grpo::cpu {

/// Each includes those before it.
enum class InstructionSet : uint8_t { kGeneric, kAvx2, kAvx512, kAvx512Bf16 };

/// "generic", "avx2", "avx512" or "avx512bf16".
const char* name_of(InstructionSet set);

/// The last that the processor has.
InstructionSet processor_instruction_set();

/// The one that is used: decided at the first call and the same ever after. BAD_OPTION where the
/// variable names none that the processor has.
InstructionSet instruction_set();

}  // namespace grpo::cpu
