// The trainable parameters of an adapter and all that belongs to them, each kind in one flat
// buffer: clipping and the optimizer are then a handful of operators however many layers there are.
// The named tensors are views into the buffers, so writing through either is seen by both; autograd
// accumulates straight into the flat gradient. Gradient and optimizer exist from the first training
// call on: an adapter that only answers costs its values.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grpo {

class Optimizer;

/// Parameters that an optimizer may treat alike; each group is one range of the buffers.
enum class ParameterGroup { kMatrix, kLoraB, kEmbedding, kVector };
constexpr size_t kParameterGroups = 4;

struct ParameterRange {
    int64_t start = 0;
    int64_t size = 0;
};

class Parameters {
  public:
    struct Named {
        std::string name;
        std::vector<int64_t> shape;
    };
    /// One leaf of autograd. Several names: tensors that lie one below the other, equal in all but
    /// their first size.
    struct Spec {
        std::vector<Named> tensors;
        ParameterGroup group = ParameterGroup::kMatrix;
        bool hidden = true;  // not of the embedding, nor of the output layer
    };

    Parameters() = default;
    /// Zero-filled.
    Parameters(std::vector<Spec> specs, at::ScalarType dtype, at::Device device);

    bool empty() const { return named_.empty(); }
    size_t size() const { return named_.size(); }
    const std::string& name(size_t i) const { return named_[i].name; }
    ParameterGroup group(size_t i) const { return leaves_[named_[i].leaf].group; }
    bool hidden(size_t i) const { return leaves_[named_[i].leaf].hidden; }
    /// View into `buffer` (values, gradient, ...) of tensor i, in its shape.
    at::Tensor slice(const at::Tensor& buffer, size_t i) const;
    /// The leaf that holds the tensor of this name; undefined when absent.
    at::Tensor find(const std::string& name) const;
    /// The values of the tensor of this name, which must be there.
    at::Tensor value(const std::string& name) const { return slice(values, by_name_.at(name)); }
    /// Copies `tensor` into the one of this name, if there is one.
    void write(const std::string& name, const at::Tensor& tensor);
    const std::array<ParameterRange, kParameterGroups>& groups() const { return groups_; }

    void need_gradient();
    void zero_grad();

    at::Tensor values;                     // [n]
    at::Tensor gradient;                   // [n], undefined before need_gradient()
    std::shared_ptr<Optimizer> optimizer;  // none before the first step
    int64_t steps = 0;                     // optimizer steps taken

  private:
    struct View {
        std::string name;
        std::vector<int64_t> shape;
        int64_t start = 0;
        size_t leaf = 0;
    };
    struct Leaf {
        at::Tensor value;
        int64_t start = 0;
        ParameterGroup group = ParameterGroup::kMatrix;
        bool hidden = true;
    };

    std::vector<View> named_;
    std::map<std::string, size_t> by_name_;
    std::vector<Leaf> leaves_;
    std::array<ParameterRange, kParameterGroups> groups_{};
};

}  // namespace grpo
