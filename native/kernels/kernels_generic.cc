// Vectors of four floats: what every x86-64 and every 64-bit ARM processor has.
#define GRPO_KERNELS kGenericKernels
#define GRPO_LANES 4
#define GRPO_TILE_ROWS 6
#define GRPO_TILE_SUMS 12
#include "kernels/kernels_impl.h"
