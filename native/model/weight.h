// The weight of a linear layer of the base model, behind what is done with one: products, rows,
// parts, values to merge or save. Nobody else reads a matrix of the base, so a form other than a
// dense tensor (quantised, packed) is one class more, in one file, like dense_weight.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace grpo {

namespace cpu {
class Scratch;
}

/// Writes to the values that it is given.
using Write = std::function<void(const at::Tensor& values)>;

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

    /// Whether decode() is there for it, on this processor and in this dtype.
    virtual bool can_decode() const = 0;
    /// The product of few rows in fp32: x [rows, in] -> y [rows, out], whose rows are `stride`
    /// apart.
    virtual void decode(const float* x, int64_t rows, float* y, int64_t stride,
                        cpu::Scratch& scratch) const = 0;

    /// ids [n] int64 -> rows [n, in], as an embedding is read.
    virtual at::Tensor rows(const at::Tensor& ids) const = 0;
    /// `count` rows from `start` on as a weight of their own, in the same memory.
    virtual std::shared_ptr<Weight> part(int64_t start, int64_t count) const = 0;
    virtual std::shared_ptr<Weight> copy() const = 0;

    /// Its values [out, in]; of a dense weight the very memory.
    virtual at::Tensor dense() const = 0;
    /// Lets `write` change the values, given as dense() gives them.
    virtual void change(const Write& write) = 0;
};

/// The weight whose values [out, in] are this tensor, in its memory.
std::shared_ptr<Weight> dense_weight(const at::Tensor& values);

}  // namespace grpo
