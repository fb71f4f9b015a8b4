// Passes over rows of activations, scores and logits on a CPU: what a model computes between its
// products. Decoding and training run the same ones, so that a token's log-probability is that of
// the forward that trains it. Each is one read and one write where ATen would make one for every
// operator. All in fp32, rows contiguous unless a stride is given; sums are taken in vectors of
// fp32 and across these in double. The plain version of each is the ATen expression of its caller.
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

/// Numbers of a row whose sum is one entry where a row is sampled from.
constexpr int64_t kSumBlock = 512;

struct RowKernels {
    /// y = x · s · (weight + offset) with s = 1 / sqrt(mean(x²) + eps), which goes to `scale`
    /// [rows] where that is not null. y may be x.
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
    /// y may be x.
    void (*rope)(const RotaryRows& call, const float* x, int64_t x_stride, float* y,
                 int64_t y_stride);
    /// y += x, [size].
    void (*add)(const float* x, int64_t size, float* y);
    /// x = cap · tanh(x / cap), [size].
    void (*softcap)(float* x, int64_t size, float cap);

    /// scores <- softmax(scores); returns log Σ exp(scores).
    float (*softmax)(float* scores, int64_t size);
    /// The same, where softmax(scores) is `inverse` times what scores become: for a product that
    /// scales its rows anyway.
    float (*softmax_terms)(float* scores, int64_t size, float& inverse);
    /// scores <- p = exp(scores - log_sum), dscores <- p · (dp - Σ p dp), where dscores comes as
    /// dp. With a cap the scores come as c · tanh(scores / c), and dscores has that derivative,
    /// too.
    void (*softmax_backward)(float* scores, float* dscores, int64_t size, float log_sum, float cap);
    /// x [size] rounded to bf16.
    void (*narrow)(const float* x, int64_t size, uint16_t* out);

    /// Fills in logprob, entropy and log_sum.
    void (*score)(const float* logits, LogitRow& row);
    /// logits <- dl · dlogprob/dz + dh · dentropy/dz, in place.
    void (*score_backward)(float* logits, const LogitRow& row, float dl, float dh);
    float (*max)(const float* x, int64_t size);
    /// Σ exp((x - max) · scale); also writes the terms [size] where `terms` is not null.
    double (*exp_sum)(const float* x, int64_t size, float max, float scale, float* terms);
    /// Terms [size] whose score is below `least` become 0; Σ of the others.
    double (*keep)(const float* scores, float least, int64_t size, float* terms);
};

/// The row kernels that are used.
const RowKernels& row_kernels();

}  // namespace grpo::cpu
