// The weight of a linear layer of the base model, behind what is done with one: products, rows,
// parts, values to merge or save. Nobody else reads a matrix of the base, so a form other than a
// dense tensor (quantised, packed) is one class more, in one file, like dense_weight.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

namespace grpo {

/// Writes to the rows that it is given, of which the first has that number.
using Write = std::function<void(const at::Tensor& rows, int64_t first)>;

class Weight : public std::enable_shared_from_this<Weight> {
  public:
    Weight() = default;
    Weight(const Weight&) = delete;
    Weight& operator=(const Weight&) = delete;
    virtual ~Weight() = default;

    virtual int64_t out() const = 0;
    virtual int64_t in() const = 0;
    /// Dtype of its values: the model's.
    virtual at::ScalarType dtype() const = 0;
    virtual at::Device device() const = 0;

    /// x [n, in], bias [out] or undefined -> x Wᵀ + b [n, out] in x's dtype, which may be wider
    /// than the weight's. Without gradient.
    virtual at::Tensor product(const at::Tensor& x, const at::Tensor& bias) const = 0;
    /// Its gradient by x: dy [n, out] -> dy W [n, in].
    virtual at::Tensor product_backward(const at::Tensor& dy) const = 0;
    /// The product for autograd: differentiable by x and the bias.
    virtual at::Tensor linear(const at::Tensor& x, const at::Tensor& bias) const;

    /// y [rows, out] = x Wᵀ in fp32 on a CPU, rows of y `stride` apart, x [rows, in] contiguous; of
    /// the bits that product() gives.
    virtual void multiply(const float* x, int64_t rows, float* y, int64_t stride) const = 0;
    /// The same values in the form that multiply() reads fastest; undefined where there is none, on
    /// other devices and in other dtypes.
    virtual std::shared_ptr<const Weight> packed() const = 0;

    /// ids [n] int64 -> rows [n, in], as an embedding is read.
    virtual at::Tensor rows(const at::Tensor& ids) const = 0;
    /// `count` rows from `start` on as a weight of their own, in the same memory.
    virtual std::shared_ptr<Weight> part(int64_t start, int64_t count) const = 0;
    virtual std::shared_ptr<Weight> copy() const = 0;

    /// Its values [out, in]; of a dense weight the very memory.
    virtual at::Tensor dense() const = 0;
    /// Lets `write` change the values, as dense() gives them, in one piece or several.
    virtual void change(const Write& write) = 0;
};

/// The weight whose values [out, in] are this tensor, in its memory.
std::shared_ptr<Weight> dense_weight(const at::Tensor& values);

/// An uninitialised weight of parts [out_i, in] below each other, in the form that its device and
/// dtype are fast in: packed on a CPU, else dense. part() gives these parts.
std::shared_ptr<Weight> new_weight(const std::vector<int64_t>& outs, int64_t in,
                                   const at::TensorOptions& options);

}  // namespace grpo
