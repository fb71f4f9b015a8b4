#include "model/product.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "engine_limits.h"
#include "kernels/gemm.h"
#include "kernels/packed_matrix.h"

namespace grpo {
namespace {

bool fits(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b) {
    return has_gemm(a) && has_gemm(c) && c.stride(1) == 1 && b.is_cpu() &&
           cpu::can_store(b.scalar_type()) && a.numel() > 0 && b.numel() > 0;
}

cpu::Matrix matrix(const at::Tensor& x) {
    return {x.const_data_ptr(), x.stride(0), x.stride(1), cpu::storage_of(x.scalar_type())};
}

void by_aten(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale,
             bool add) {
    if (scale == 1 && !add) {
        at::Tensor out = c;
        at::mm_out(out, a, b);
    } else {
        at::addmm_out(const_cast<at::Tensor&>(c), c, a, b, add ? 1 : 0, scale);
    }
}

/// ATen wants one dtype: b is widened piece by piece, by rows or by columns as they lie in memory.
void by_widening(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale,
                 bool add) {
    const int64_t along = b.stride(0) < b.stride(1) ? 1 : 0;
    const int64_t size = b.size(along);
    const int64_t step =
        std::clamp<int64_t>(kLimits.widened_elements / std::max<int64_t>(b.size(1 - along), 1), 1,
                            std::max<int64_t>(size, 1));
    if (along == 0 && !add) c.zero_();
    for (int64_t start = 0; start < size; start += step) {
        const int64_t n = std::min(step, size - start);
        const at::Tensor wide = b.narrow(along, start, n).to(a.scalar_type());
        if (along == 0)
            by_aten(c, a.narrow(1, start, n), wide, scale, true);
        else
            by_aten(c.narrow(1, start, n), a, wide, scale, add);
    }
}

void multiply(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale,
              bool add) {
    const c10::NoGradGuard no_grad;
    if (!fits(c, a, b)) {
        const bool alike = a.scalar_type() == b.scalar_type();
        return alike ? by_aten(c, a, b, scale, add) : by_widening(c, a, b, scale, add);
    }
    cpu::multiply(cpu::gemm_kernels(), {.m = a.size(0),
                                        .n = b.size(1),
                                        .k = a.size(1),
                                        .storage = cpu::storage_of(b.scalar_type()),
                                        .a = matrix(a),
                                        .scale = static_cast<float>(scale),
                                        .b = matrix(b),
                                        .c = c.mutable_data_ptr<float>(),
                                        .c_stride = c.stride(0),
                                        .add = add});
}

}  // namespace

bool has_gemm(const at::Tensor& a) { return a.is_cpu() && a.scalar_type() == at::kFloat; }

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
    at::Tensor c = at::empty({a.size(0), b.size(1)}, a.options());
    multiply(c, a, b, 1, false);
    return c;
}

void product_into(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale) {
    multiply(c, a, b, scale, false);
}

void add_product(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, double scale) {
    multiply(c, a, b, scale, true);
}

}  // namespace grpo
