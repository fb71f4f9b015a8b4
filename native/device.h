// Traffic between host and device. Uploads are cheap and free to use; every read-back stops the
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

/// Host vector to a 1-D device tensor of the same element type.
template <typename T>
at::Tensor to_device(const std::vector<T>& values, at::Device device) {
    at::Tensor host = at::empty({static_cast<int64_t>(values.size())},
                                at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
    if (!values.empty()) std::memcpy(host.data_ptr(), values.data(), values.size() * sizeof(T));
    return device.is_cpu() ? host : host.to(device);
}

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
