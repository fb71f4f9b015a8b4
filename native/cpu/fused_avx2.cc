// Compiled with AVX2 and FMA; called only where the processor has them.
#if defined(__x86_64__)
#define GRPO_FUSED kFusedAvx2
#define GRPO_LANES 8
#include "cpu/fused_impl.h"
#endif
