// Traffic between host and device. Uploads are cheap and free to use: the
// host does not wait for them. Every read-back stops the
// device's queue, so all of them go through ReadBack, which counts them. On the meta device, where
// tensors have no data, a read-back gives zeros: the whole engine can then run there, and anything
// that reads a tensor on the side throws.
#pragma once

#include <ATen/Functions.h>
#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstring>
#include <vector>

namespace grpo {

/// Whether the device has libtorch's fused kernels. The meta device stands for one that has.
inline bool has_fused_kernels(at::Device device) {
    return device.is_cuda() || device.is_privateuseone() || device.is_meta();
}

/// Whether the device copies from pinned memory while the host goes on; from other memory the host
/// waits for the copy and for all that was queued before it.
inline bool copies_behind_host(at::Device device) {
    return device.is_cuda() || device.is_privateuseone();
}

/// Host vector to a 1-D host tensor of the same element type, pinned where that helps the device.
/// libtorch does not hand the memory out again before the device has read it.
template <typename T>
at::Tensor staged_for(at::Device device, const std::vector<T>& values) {
    at::Tensor host = at::empty({static_cast<int64_t>(values.size())},
                                at::TensorOptions()
                                    .dtype(c10::CppTypeToScalarType<T>::value)
                                    .pinned_memory(copies_behind_host(device)));
    if (!values.empty()) std::memcpy(host.data_ptr(), values.data(), values.size() * sizeof(T));
    return host;
}

/// Host vector to a 1-D device tensor of the same element type.
template <typename T>
at::Tensor to_device(const std::vector<T>& values, at::Device device) {
    const at::Tensor host = staged_for(device, values);
    return device.is_cpu() ? host : host.to(device, host.scalar_type(), /*non_blocking=*/true);
}

/// Makes the device the one that operators of this thread mean where nothing names another.
void make_current(at::Device device);

class ReadBack {
  public:
    /// The tensor's elements in row-major order, converted to T.
    template <typename T>
    std::vector<T> operator()(const at::Tensor& tensor) {
        count_.fetch_add(1, std::memory_order_relaxed);
        std::vector<T> values(static_cast<size_t>(tensor.numel()));
        if (tensor.is_meta() || values.empty()) return values;
        at::Tensor host =
            tensor.detach().to(at::kCPU, c10::CppTypeToScalarType<T>::value).contiguous();
        std::memcpy(values.data(), host.data_ptr(), values.size() * sizeof(T));
        return values;
    }
    int64_t count() const { return count_.load(std::memory_order_relaxed); }

  private:
    std::atomic<int64_t> count_{0};
};

}  // namespace grpo
