// y = x Wᵀ for few rows: decoding reads every weight once a step, so a step is as fast as memory
// and, from a handful of rows on, as the multipliers allow. Of many rows the product is gemm.h's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <new>

#include "kernels/products.h"

namespace grpo::cpu {

/// Memory that is kept from call to call and only grows; its content is not.
class Scratch {
  public:
    /// At an address that is a multiple of 64.
    void* bytes(int64_t count);
    float* floats(int64_t count) {
        return static_cast<float*>(bytes(count * static_cast<int64_t>(sizeof(float))));
    }

  private:
    struct Free {
        void operator()(void* memory) const { ::operator delete (memory, std::align_val_t{64}); }
    };
    std::unique_ptr<void, Free> memory_;
    int64_t size_ = 0;
};

/// A tensor [out, in] as the kernels read it; the tensor must outlive it.
struct WeightView {
    explicit WeightView(const at::Tensor& tensor);
    const void* data;
    Storage storage;
    int64_t in, out;
};

/// Whether tensors of this dtype can be weights or caches here.
bool can_store(at::ScalarType dtype);
Storage storage_of(at::ScalarType dtype);

/// x [rows, in] -> y [rows, out], whose rows are `stride` apart.
void linear(const float* x, int64_t rows, const WeightView& weight, float* y, int64_t stride,
            Scratch& packed);

/// Rows up to which the kernels beat widening a bf16 weight and calling a GEMM.
constexpr int64_t kSkinnyRows = 32;

/// True for x [m, in] fp32, m <= kSkinnyRows, and a contiguous weight [out, in] bf16, on the CPU.
bool can_skinny_linear(const at::Tensor& x, const at::Tensor& weight);

/// [m, out] fp32. The plain version is at::matmul(x, weight.to(fp32).t()).
at::Tensor skinny_linear(const at::Tensor& x, const at::Tensor& weight);

}  // namespace grpo::cpu
