// A tensor of a model under its name in files, whatever form it is kept in: what loading, saving
// and merging see.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/weight.h"

namespace grpo {

struct NamedTensor {
    std::string name;
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    /// Its values; of what is kept dense the very memory.
    std::function<at::Tensor()> read;
    /// Lets `write` change the values, in one piece or several; empty where they are derived when
    /// they are read.
    std::function<void(const Write& write)> change;
};

inline NamedTensor named_tensor(std::string name, const at::Tensor& tensor) {
    return {std::move(name), tensor.scalar_type(), tensor.sizes().vec(),
            [tensor] { return tensor; }, [tensor](const Write& write) { write(tensor, 0); }};
}

inline NamedTensor named_tensor(std::string name, const std::shared_ptr<Weight>& weight) {
    return {std::move(name),
            weight->dtype(),
            {weight->out(), weight->in()},
            [weight] { return weight->dense(); },
            [weight](const Write& write) { weight->change(write); }};
}

}  // namespace grpo
