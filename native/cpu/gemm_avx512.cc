// Compiled with AVX-512; called only where the processor has it.
#if defined(__x86_64__)
#define GRPO_GEMM kGemmAvx512
#define GRPO_LANES 16
#define GRPO_TILE_ROWS 8
#define GRPO_TILE_VECTORS 3
#include "cpu/gemm_impl.h"
#endif
