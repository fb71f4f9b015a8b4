// The feed-forward of a layer behind what is done with one, so that another kind (experts) is one
// file more, like gated_mlp.cc. It has two forms: of tensors, for every pass, and of memory, for
// the decode steps of a CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "model/base_model.h"
#include "model/decode_linear.h"
#include "model/forward_mode.h"
#include "model/linear_input.h"

namespace grpo {

/// As a decode step uses it, with what an adapter adds.
class DecodeFeedForward {
  public:
    virtual ~DecodeFeedForward() = default;
    /// x [rows, C], through the norm before it -> y [rows, C].
    virtual void forward(const float* x, int64_t rows, float* y, Workspace& workspace) const = 0;
};

class FeedForward {
  public:
    virtual ~FeedForward() = default;
    /// [N, C], through the norm before it -> [N, C], added to the residual if one is given, as
    /// Linear::forward() has it.
    virtual at::Tensor forward(const LinearInput& input, const ForwardMode& mode,
                               const at::Tensor& residual) const = 0;
    /// The weights must not change while it lives.
    virtual std::unique_ptr<DecodeFeedForward> for_decoding(const ForwardMode& mode) const = 0;
};

std::unique_ptr<FeedForward> make_feed_forward(const BaseModel& base,
                                               const FeedForwardModules& modules,
                                               Activation activation);

}  // namespace grpo
