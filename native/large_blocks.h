// Memory of large tensors on a CPU. A pass over a batch allocates and frees the same sizes layer by
// layer: the C library returns such memory to the system and has every page cleared anew, or keeps
// it in pieces that no other size fits. Here a block is kept for the next tensor of about its size,
// in large pages where the system has them, until it is released; what is kept and what is used
// together never take more than tensors did at their most.
#pragma once

namespace grpo {

/// From here on, in this process. On systems without mmap it does nothing.
void keep_large_blocks();

/// Returns the blocks that no tensor has to the system: when an engine has gone.
void release_large_blocks();

}  // namespace grpo
