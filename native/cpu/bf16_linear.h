// y = x Wᵀ with x in fp32 and W in bf16, for few rows: decoding reads every weight once a step, so
// half the bytes is half the time, and a processor without bf16 arithmetic is as fast as memory
// allows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace grpo::cpu {

/// Rows up to which the kernel beats converting the weight and calling a GEMM.
constexpr int64_t kSkinnyRows = 16;

/// True when this processor can run the kernel and the operands are what it takes: x [m, in] fp32
/// contiguous on the CPU, m <= kSkinnyRows, weight [out, in] bf16 with contiguous rows.
bool can_skinny_linear(const at::Tensor& x, const at::Tensor& weight);

/// [m, out] fp32. The plain version is at::matmul(x, weight.to(fp32).t()).
at::Tensor skinny_linear(const at::Tensor& x, const at::Tensor& weight);

/// Output columns [begin, end) of the product; compiled for AVX2 and FMA.
void skinny_columns_avx2(const float* x, const uint16_t* weight, float* y, int64_t rows, int64_t in,
                         int64_t out, int64_t begin, int64_t end);

}  // namespace grpo::cpu
