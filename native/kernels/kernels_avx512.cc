// Compiled with AVX-512 F, BW, VL and DQ; called only where the processor has them.
#if defined(__x86_64__)
#define GRPO_KERNELS kAvx512Kernels
#define GRPO_LANES 16
#define GRPO_TILE_ROWS 12
#define GRPO_TILE_SUMS 24
#include "kernels/kernels_impl.h"
#endif
