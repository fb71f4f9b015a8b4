// Compiled for what every processor of the architecture has.
#define GRPO_GEMM kGemmGeneric
#define GRPO_LANES 4
#define GRPO_TILE_ROWS 6
#define GRPO_TILE_VECTORS 2
#include "cpu/gemm_impl.h"
