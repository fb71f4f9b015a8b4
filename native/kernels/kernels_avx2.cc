// Compiled with AVX2 and FMA; called only where the processor has them.
#if defined(__x86_64__)
#define GRPO_KERNELS kAvx2Kernels
#define GRPO_LANES 8
#define GRPO_TILE_ROWS 6
#define GRPO_TILE_SUMS 12
#include "kernels/kernels_impl.h"
#endif
