// Vectors of four floats: what every x86-64 and every 64-bit ARM processor has.
#define GRPO_KERNELS kGenericKernels
#define GRPO_LANES 4
#if defined(__aarch64__)
#define GRPO_COLUMNS 6
#else
#define GRPO_COLUMNS 2
#endif
#define GRPO_TILE_ROWS 6
#define GRPO_TILE_VECTORS 2
#include "kernels/kernels_impl.h"
