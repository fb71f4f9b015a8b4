// Compiled for what every processor of the architecture has.
#define GRPO_FUSED kFusedGeneric
#define GRPO_LANES 4
#include "cpu/fused_impl.h"
