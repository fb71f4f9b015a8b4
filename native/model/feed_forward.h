// The feed-forward of a layer behind what the decoders need of it, so that another kind (experts)
// is one class more, in one file, like gated_mlp.cc: it says which of its forms a pass computes,
// and which a step of a rollout on a CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "model/base_model.h"
#include "model/decode_linear.h"
#include "model/forward_mode.h"
#include "model/linear_input.h"

namespace grpo {

/// As decoding uses it, with what an adapter adds as it is now.
class DecodeFeedForward {
  public:
    virtual ~DecodeFeedForward() = default;
    /// x [rows, C], through the norm before it -> y [rows, C].
    virtual void forward(const float* x, int64_t rows, float* y, Workspace& workspace) const = 0;
};

class FeedForward {
  public:
    virtual ~FeedForward() = default;
    /// [N, C], through the norm before it -> [N, C].
    virtual at::Tensor forward(const LinearInput& input, const ForwardMode& mode) const = 0;
    /// The weights must not change while it lives.
    virtual std::unique_ptr<DecodeFeedForward> for_decoding(const ForwardMode& mode) const = 0;
};

std::unique_ptr<FeedForward> make_feed_forward(const BaseModel& base,
                                               const FeedForwardModules& modules,
                                               Activation activation);

}  // namespace grpo
