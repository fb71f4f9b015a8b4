#include "model/norm.h"

#include "model/adapter.h"

namespace grpo {

Norm::Norm(const BaseModel& base, const std::optional<NormModule>& module,
           NormParameters parameters)
    : base_(module ? &base.norm(*module) : nullptr), parameters_(parameters) {}

at::Tensor Norm::weight(const ForwardMode& mode) const {
    if (mode.adapter) {
        const Trained& trained = mode.adapter->norm(base_->module.index);
        if (trained.defined()) return trained.value();
    }
    return base_->weight;
}

LinearInput Norm::through(const at::Tensor& x, const ForwardMode& mode) const {
    LinearInput input;
    input.x = x;
    if (!exists()) return input;
    input.norm_weight = weight(mode);
    input.norm = parameters_;
    return input;
}

}  // namespace grpo
