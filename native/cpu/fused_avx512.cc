// Compiled with AVX-512; called only where the processor has it.
#if defined(__x86_64__)
#define GRPO_FUSED kFusedAvx512
#define GRPO_LANES 16
#include "cpu/fused_impl.h"
#endif
