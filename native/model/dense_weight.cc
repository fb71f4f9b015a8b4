// A weight that is a tensor. Where x is wider than it, it is widened piece by piece as it is used.
#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "kernels/packed_matrix.h"
#include "model/product.h"
#include "model/rows.h"
#include "model/weight.h"

namespace grpo {
namespace {

class DenseWeight : public Weight {
  public:
    explicit DenseWeight(at::Tensor values) : values_(std::move(values)) {}

    int64_t out() const override { return values_.size(0); }
    int64_t in() const override { return values_.size(1); }
    at::ScalarType dtype() const override { return values_.scalar_type(); }
    at::Device device() const override { return values_.device(); }

    at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const override {
        const c10::NoGradGuard no_grad;
        if (!by_kernels(x)) return at::linear(x, values_, bias);
        at::Tensor y = at::empty({x.size(0), out()}, x.options());
        product_into(y, x, values_.t());
        if (bias.defined()) y.add_(bias);
        return y;
    }

    at::Tensor product_backward(const at::Tensor& dy) const override {
        return grpo::product(dy, values_);
    }

    at::Tensor linear(const at::Tensor& x, const at::Tensor& bias) const override {
        return by_kernels(x) ? Weight::linear(x, bias) : at::linear(x, values_, bias);
    }

    void multiply(const float* x, int64_t rows, float* y, int64_t stride) const override {
        const at::Tensor in = at::from_blob(const_cast<float*>(x), {rows, this->in()}, at::kFloat);
        product_into(at::from_blob(y, {rows, out()}, {stride, 1}, at::kFloat), in, values_.t());
    }

    std::shared_ptr<const Weight> packed() const override {
        if (!values_.is_cpu() || !cpu::can_store(values_.scalar_type())) return nullptr;
        const auto packed = new_weight({out()}, in(), values_.options());
        packed->change([this](const at::Tensor& rows, int64_t first) {
            rows.copy_(values_.narrow(0, first, rows.size(0)));
        });
        return packed;
    }

    at::Tensor rows(const at::Tensor& ids) const override { return take_rows(values_, ids); }

    std::shared_ptr<Weight> part(int64_t start, int64_t count) const override {
        return dense_weight(values_.narrow(0, start, count));
    }

    std::shared_ptr<Weight> copy() const override { return dense_weight(values_.clone()); }

    at::Tensor dense() const override { return values_; }

    void change(const Write& write) override { write(values_, 0); }

  private:
    /// Whether to multiply through product.h: ATen's linear wants one dtype, and is slower in fp32.
    bool by_kernels(const at::Tensor& x) const {
        return x.dim() == 2 && (x.scalar_type() != values_.scalar_type() || has_gemm(x));
    }

    at::Tensor values_;  // [out, in]
};

}  // namespace

std::shared_ptr<Weight> dense_weight(const at::Tensor& values) {
    return std::make_shared<DenseWeight>(values);
}

}  // namespace grpo
