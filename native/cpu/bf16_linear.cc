#include "cpu/bf16_linear.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

namespace grpo::cpu {

bool can_skinny_linear(const at::Tensor& x, const at::Tensor& weight) {
#if defined(__x86_64__)
    return x.is_cpu() && x.dim() == 2 && x.size(0) <= kSkinnyRows &&
           x.scalar_type() == at::kFloat && weight.scalar_type() == at::kBFloat16 &&
           weight.is_contiguous() && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

at::Tensor skinny_linear(const at::Tensor& x, const at::Tensor& weight) {
    const at::Tensor rows = x.contiguous();
    const int64_t m = rows.size(0), in = weight.size(1), out = weight.size(0);
    at::Tensor y = at::empty({m, out}, rows.options());
#if defined(__x86_64__)
    const float* x_data = rows.const_data_ptr<float>();
    const auto* weight_data = static_cast<const uint16_t*>(weight.const_data_ptr());
    float* y_data = y.mutable_data_ptr<float>();
    // A thread's share is at least 64 KiB of weights.
    const int64_t grain = std::max<int64_t>(2, 32768 / in);
    at::parallel_for(0, out, grain, [&](int64_t begin, int64_t end) {
        skinny_columns_avx2(x_data, weight_data, y_data, m, in, out, begin, end);
    });
#endif
    return y;
}

}  // namespace grpo::cpu
