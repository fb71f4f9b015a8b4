// The inner loops of everything that is computed on a CPU without ATen. Each has one source,
// row_kernels_impl.h or gemm_impl.h, which kernels_<instruction set>.cc compiles once for every
// instruction set; instruction_set.h decides which of them run.
#pragma once

#include "kernels/gemm.h"
#include "kernels/instruction_set.h"
#include "kernels/row_kernels.h"

namespace grpo::cpu {

struct Kernels {
    RowKernels rows;
    GemmKernels gemm;
};

/// Those of one instruction set, which the processor must have.
const Kernels& kernels_of(InstructionSet set);

}  // namespace grpo::cpu
