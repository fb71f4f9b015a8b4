// A weight [out, in] as the products read it (gemm.h): packed once, it serves y = x Wᵀ of one row
// and of thousands, dx = dy W, and the rows of an embedding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "kernels/gemm.h"

namespace grpo::cpu {

/// Whether numbers of this dtype can be packed.
bool can_store(at::ScalarType dtype);
Storage storage_of(at::ScalarType dtype);

class PackedMatrix {
  public:
    PackedMatrix() = default;
    /// Uninitialised.
    PackedMatrix(int64_t out, int64_t in, at::ScalarType dtype);
    /// values [out, in].
    explicit PackedMatrix(const at::Tensor& values);

    bool defined() const { return words_.defined(); }
    int64_t out() const { return out_; }
    int64_t in() const { return in_; }
    at::ScalarType dtype() const { return words_.scalar_type(); }

    void pack(const at::Tensor& values);
    at::Tensor unpack() const;
    /// ids [n] int64 -> [n, in]
    at::Tensor rows(const at::Tensor& ids) const;
    /// Rows from `start` on, a multiple of 32, in the same memory.
    PackedMatrix part(int64_t start, int64_t count) const;
    PackedMatrix copy() const;

    /// y [rows, out] (+)= x Wᵀ, rows `stride` apart; x [rows, in] contiguous.
    void multiply(const float* x, int64_t rows, float* y, int64_t stride, bool add = false) const;
    /// dx [rows, in] = dy W; rows of dy `stride` apart.
    void multiply_turned(const float* dy, int64_t stride, int64_t rows, float* dx) const;

    /// As products read it, of x Wᵀ as kPanels and of dy W as kTurned.
    Panels panels() const;

  private:
    Storage storage() const { return storage_of(dtype()); }

    int64_t out_ = 0, in_ = 0;
    at::Tensor words_;  // [panels, steps, 32, numbers of a step]
};

}  // namespace grpo::cpu
