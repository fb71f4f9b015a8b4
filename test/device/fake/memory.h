// Memory of the device: addresses that nothing can read or write. The bytes lie at the same offset
// of a second range, which only the device's kernels know, so whoever follows a data_ptr() of the
// device on the host dies where it does so. What is allocated is filled with 0xFF (NaN, -1), as a
// device's allocator hands out what others left there.
#pragma once

#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "streams.h"

namespace fake {

constexpr int kPoison = 0xFF;

bool is_device_address(const void* address);
int device_of_address(const void* address);
/// Where the bytes of a device's address lie; other addresses are what they are.
void* backing(const void* address);

/// Reuses memory in the order of the stream that it was allocated for, without waiting.
c10::DeviceAllocator& device_allocator();
/// How much a device has; beyond it an allocation throws c10::OutOfMemoryError.
void set_device_memory(size_t bytes);
/// From where allocations of this thread come; {0, 0} is the memory of everyone.
void set_memory_pool(c10::MempoolId_t pool);

/// Pinned memory of the host. It is not handed out again before all copies from and to it are done.
at::HostAllocator& pinned_allocator();
bool is_pinned(const void* address);
/// A copy between this pinned memory and the device has been enqueued on the stream.
void note_copy(const void* address, c10::Stream stream);
/// Waits for the copies that were noted. Not counted as a wait of the host.
void finish_copies(const void* address);

}  // namespace fake
