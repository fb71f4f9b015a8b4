// What this processor can do, of the instruction sets that there are kernels for.
#pragma once

#include <cstdint>

namespace grpo::cpu {

/// Each includes those before it.
enum class InstructionSet : uint8_t { kGeneric, kAvx2, kAvx512, kAvx512Bf16 };

InstructionSet instruction_set();

}  // namespace grpo::cpu
