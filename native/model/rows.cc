#include "model/rows.h"

#include <torch/csrc/autograd/custom_function.h>

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor gather(const at::Tensor& rows, const at::Tensor& index) {
    return at::index(rows, {index});
}

at::Tensor gather_or_zero(const at::Tensor& rows, const at::Tensor& index) {
    std::vector<int64_t> zero_shape(rows.sizes().begin(), rows.sizes().end());
    zero_shape[0] = 1;
    return gather(at::cat({rows, at::zeros(zero_shape, rows.options())}), index);
}

class TakeRows : public torch::autograd::Function<TakeRows> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& rows,
                              const at::Tensor& index) {
        context->save_for_backward({index});
        context->saved_data["shape"] = rows.sizes().vec();
        return gather(rows, index);
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const at::Tensor index = context->get_saved_variables()[0];
        at::Tensor sum =
            at::zeros(context->saved_data["shape"].toIntVector(), gradients[0].options());
        return {sum.index_add_(0, index, gradients[0]), {}};
    }
};

class RepackRows : public torch::autograd::Function<RepackRows> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& rows,
                              const at::Tensor& forward_index, const at::Tensor& backward_index) {
        context->save_for_backward({backward_index});
        return gather_or_zero(rows, forward_index);
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        return {gather_or_zero(gradients[0], context->get_saved_variables()[0]), {}, {}};
    }
};

class ReplaceColumns : public torch::autograd::Function<ReplaceColumns> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                              const at::Tensor& index, const at::Tensor& columns) {
        context->save_for_backward({index});
        return at::index_copy(x, 1, index, columns);
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const at::Tensor& gradient = gradients[0];
        const at::Tensor index = context->get_saved_variables()[0];
        return {at::index_fill(gradient, 1, index, 0), {}, gather(gradient.t(), index).t()};
    }
};

}  // namespace

at::Tensor take_rows(const at::Tensor& rows, const at::Tensor& index) {
    return TakeRows::apply(rows, index);
}

at::Tensor repack_rows(const at::Tensor& rows, const at::Tensor& forward,
                       const at::Tensor& backward) {
    return RepackRows::apply(rows, forward, backward);
}

at::Tensor replace_columns(const at::Tensor& x, const at::Tensor& index,
                           const at::Tensor& columns) {
    return ReplaceColumns::apply(x, index, columns);
}

}  // namespace grpo
