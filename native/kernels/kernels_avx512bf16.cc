// Compiled with AVX512-BF16, too: products of bf16 weights round x to bf16 and multiply pairs.
#if defined(__x86_64__)
#define GRPO_KERNELS kAvx512Bf16Kernels
#define GRPO_LANES 16
#define GRPO_TILE_ROWS 12
#define GRPO_TILE_SUMS 24
#define GRPO_BF16_PAIRS
#include "kernels/kernels_impl.h"
#endif
