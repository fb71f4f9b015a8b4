// Passes over activations and logits that training makes on a CPU, each one read and one write
// where ATen would make one for every operator. One source (fused_impl.h), compiled for several
// instruction sets; the processor decides which runs. All in fp32, rows contiguous unless a stride
// is given. The plain version of each is the ATen expression beside its caller.
#pragma once

#include <cstdint>

namespace grpo::cpu {

/// Rows of heads that a rotary embedding turns: [rows, heads, D], rows `stride` floats apart.
struct RotaryRows {
    int64_t rows, heads, head_dim, rotary;
    const float* cos;  // [rows, rotary]
    const float* sin;
    float direction;  // 1 forwards, -1 backwards
};

/// One row of logits z and the token that was drawn; p = softmax(z / τ).
struct LogitRow {
    int64_t size;  // V
    int64_t target;
    float inverse_temperature;  // 1/τ
    float logprob;
    float entropy;
    float log_sum;  // log Σ exp(z / τ)
};

struct FusedKernels {
    /// y = x · s · (weight + offset) with s = 1 / sqrt(mean(x²) + eps), which goes to `scale`.
    void (*rms_norm)(const float* x, const float* weight, float offset, float eps, int64_t rows,
                     int64_t size, float* y, float* scale);
    /// dx; adds to `dweight` [size] where it is not null.
    void (*rms_norm_backward)(const float* dy, const float* x, const float* weight, float offset,
                              const float* scale, int64_t rows, int64_t size, float* dx,
                              float* dweight);
    /// gate_up [rows, 2 · size] -> act(gate) · up [rows, size]; silu or tanh-approximated gelu.
    void (*gated)(const float* gate_up, bool gelu, int64_t rows, int64_t size, float* y);
    void (*gated_backward)(const float* dy, const float* gate_up, bool gelu, int64_t rows,
                           int64_t size, float* dgate_up);
    void (*rope)(const RotaryRows& call, const float* x, int64_t x_stride, float* y,
                 int64_t y_stride);
    /// scores <- softmax(scores); returns log Σ exp(scores).
    float (*softmax)(float* scores, int64_t size);
    /// scores <- p = exp(scores - log_sum), dscores <- p · (dscores - out · dout), where dscores
    /// comes as dp, and out and dout have `head_dim` numbers.
    void (*softmax_backward)(float* scores, float* dscores, int64_t size, float log_sum,
                             const float* out, const float* dout, int64_t head_dim);
    /// Fills in logprob, entropy and log_sum.
    void (*score)(const float* logits, LogitRow& row);
    /// logits <- dl · dlogprob/dz + dh · dentropy/dz, in place.
    void (*score_backward)(float* logits, const LogitRow& row, float dl, float dh);
};

/// Those for this processor.
const FusedKernels& fused_kernels();

}  // namespace grpo::cpu
