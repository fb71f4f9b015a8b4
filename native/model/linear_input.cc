#include "model/linear_input.h"

#include "model/gated.h"

namespace grpo {

at::Tensor LinearInput::value() const {
    if (activation) return gated(x, *activation);
    return norm_weight.defined() ? rms_norm(x, norm_weight, norm) : x;
}

}  // namespace grpo
