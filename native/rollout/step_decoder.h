// One decode step on a CPU: one new token for every live row, through all layers, in plain loops
// over memory that is allocated once. The plain version is Decoder::forward with DecodeAttention.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "model/block_cache.h"
#include "model/decode_linear.h"
#include "model/decoder.h"
#include "model/feed_forward.h"
#include "model/step_cache.h"
#include "model_spec.h"

namespace grpo {

class StepDecoder {
  public:
    /// Whether this decoder's device and dtypes are those of the kernels.
    static bool can_run(const Decoder& decoder);
    /// The weights must not change while it lives.
    StepDecoder(const Decoder& decoder, const ForwardMode& mode, BlockCache& cache);

    void step(const DecodeRows& rows);
    /// Logits of rows [first, first + count) of the last step: [count, V] fp32, until the next
    /// call.
    const float* logits(int64_t first, int64_t count);

  private:
    struct Layer {
        at::Tensor before_attention, after_attention;        // norms, fp32
        at::Tensor before_feed_forward, after_feed_forward;  // norms, fp32
        at::Tensor q_norm, k_norm;
        DecodeLinear qkv, output;
        std::unique_ptr<DecodeFeedForward> feed_forward;
    };
    struct Rope {
        at::Tensor cos, sin;  // [positions, 1, D_rot] fp32
    };
    /// Rows of one prompt whose queries are computed together.
    struct Members {
        int64_t slot;
        std::vector<int64_t> rows;
    };

    at::Tensor norm_weight(const Norm& norm, const ForwardMode& mode) const;
    /// x [n, size] -> out [n, size]; a copy where the norm is absent.
    void normalize(const at::Tensor& weight, const float* x, int64_t size, float* out) const;
    /// Rotations of positions 0..count - 1.
    void reserve_positions(int64_t count);
    void group_rows(const DecodeRows& rows);
    /// normed [n, C] -> branch [n, C].
    void self_attention(int64_t index, const DecodeRows& rows);
    /// Norms and turns the queries and keys of row r, and stores its keys and values.
    void finish_qkv(int64_t index, const DecodeRows& rows, int64_t r);
    void attend(int64_t index, const DecodeRows& rows);
    void attend_head(int64_t index, const DecodeRows& rows, const Members& members, int64_t head,
                     cpu::Scratch& scratch) const;
    /// hidden += after(branch).
    void add_branch(const at::Tensor& after);

    const Decoder& decoder_;
    const ModelConfig& config_;
    const ForwardMode mode_;
    BlockCache& cache_;
    std::vector<Layer> layers_;
    std::vector<Rope> ropes_;
    int64_t positions_ = 0;  // of ropes_
    at::Tensor last_norm_;
    DecodeLinear output_;
    std::vector<Members> groups_;
    size_t num_groups_ = 0;
    Workspace workspace_;
    std::vector<cpu::Scratch> of_thread_;
    cpu::Scratch memory_;
    int64_t rows_ = 0;  // n
    // Into memory_:
    float* hidden_ = nullptr;    // [n, C]
    float* normed_ = nullptr;    // [n, C]
    float* branch_ = nullptr;    // [n, C] the output of attention or feed-forward
    float* qkv_ = nullptr;       // [n, (H + 2 K) · D]
    float* attended_ = nullptr;  // [n, H · D]
    cpu::Scratch logits_;
};

}  // namespace grpo
