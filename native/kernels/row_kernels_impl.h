// Row kernels (row_kernels.h), for kernels_impl.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/row_kernels.h"
#include "kernels/vectors_impl.h"

namespace grpo::cpu {
namespace {

constexpr float kLowest = -3.4028234e38F;

// --- norms ---

void rms_norm(const float* x, const float* weight, float offset, float eps, int64_t rows,
              int64_t size, float* y, float* scale) {
    for (int64_t row = 0; row < rows; ++row, x += size, y += size) {
        Sums squares;
        each_summed(size, [&](int64_t i, int64_t n, auto s) {
            const Vec v = get(x, i, n);
            squares.sets[s] += v * v;
        });
        const double mean = squares.wide() / static_cast<double>(size);
        const float s = static_cast<float>(1 / std::sqrt(mean + static_cast<double>(eps)));
        each_vector(size, [&](int64_t i, int64_t n) {
            put(y, i, n, get(x, i, n) * s * (get(weight, i, n) + offset));
        });
        if (scale != nullptr) scale[row] = s;
    }
}

/// With g = dy · (w + offset) and x̂ = s x:  dx = s (g - x̂ mean(g x̂)),  dw = Σ dy x̂.
void rms_norm_backward(const float* dy, const float* x, const float* weight, float offset,
                       const float* scale, int64_t rows, int64_t size, float* dx, float* dweight) {
    for (int64_t row = 0; row < rows; ++row, dy += size, x += size, dx += size) {
        const float s = scale[row];
        Sums products;
        each_summed(size, [&](int64_t i, int64_t n, auto s) {
            products.sets[s] += get(dy, i, n) * (get(weight, i, n) + offset) * get(x, i, n);
        });
        const double mean = products.wide() / static_cast<double>(size);
        const float c = static_cast<float>(mean * s * s);
        each_vector(size, [&](int64_t i, int64_t n) {
            const Vec g = get(dy, i, n) * (get(weight, i, n) + offset);
            put(dx, i, n, s * (g - get(x, i, n) * c));
        });
        if (dweight == nullptr) continue;
        each_vector(size, [&](int64_t i, int64_t n) {
            put(dweight, i, n, get(dweight, i, n) + get(dy, i, n) * get(x, i, n) * s);
        });
    }
}

// --- gated activations ---

struct Activated {
    Vec value;
    Vec slope;
};

/// silu(x) = x σ(x)
Activated silu(Vec x) {
    const Vec s = sigmoid(x);
    return {x * s, s * (1.0F + x * (1.0F - s))};
}

/// x (1 + tanh u) / 2 = x σ(2u) with u = √(2/π) (x + 0.044715 x³)
Activated gelu(Vec x) {
    const Vec square = x * x;
    const Vec s = sigmoid(2 * 0.7978845608F * x * (1.0F + 0.044715F * square));
    const Vec slope = 2 * 0.7978845608F * (1.0F + 3 * 0.044715F * square);  // of 2u
    return {x * s, s * (1.0F + x * (1.0F - s) * slope)};
}

template <typename F>
inline __attribute__((always_inline)) void gated_rows(const float* gate_up, int64_t rows,
                                                      int64_t size, float* y, F activation) {
    for (int64_t row = 0; row < rows; ++row, gate_up += 2 * size, y += size) {
        each_vector(size, [&](int64_t i, int64_t n) {
            put(y, i, n, activation(get(gate_up, i, n)).value * get(gate_up + size, i, n));
        });
    }
}

void gated(const float* gate_up, bool is_gelu, int64_t rows, int64_t size, float* y) {
    if (is_gelu) return gated_rows(gate_up, rows, size, y, [](Vec x) { return gelu(x); });
    gated_rows(gate_up, rows, size, y, [](Vec x) { return silu(x); });
}

template <typename F>
inline __attribute__((always_inline)) void gated_backward_rows(const float* dy,
                                                               const float* gate_up, int64_t rows,
                                                               int64_t size, float* dgate_up,
                                                               F activation) {
    for (int64_t row = 0; row < rows;
         ++row, dy += size, gate_up += 2 * size, dgate_up += 2 * size) {
        each_vector(size, [&](int64_t i, int64_t n) {
            const Activated gate = activation(get(gate_up, i, n));
            const Vec d = get(dy, i, n);
            put(dgate_up, i, n, d * get(gate_up + size, i, n) * gate.slope);
            put(dgate_up + size, i, n, d * gate.value);
        });
    }
}

void gated_backward(const float* dy, const float* gate_up, bool is_gelu, int64_t rows, int64_t size,
                    float* dgate_up) {
    if (is_gelu)
        return gated_backward_rows(dy, gate_up, rows, size, dgate_up,
                                   [](Vec x) { return gelu(x); });
    gated_backward_rows(dy, gate_up, rows, size, dgate_up, [](Vec x) { return silu(x); });
}

// --- rotary embedding ---

/// Pairs (x_i, x_{i + half}) turn by the angle of i; the same angle stands in both halves of cos
/// and sin.
void rope(const RotaryRows& call, const float* x, int64_t x_stride, float* y, int64_t y_stride) {
    const int64_t half = call.rotary / 2, rest = call.head_dim - call.rotary;
    for (int64_t row = 0; row < call.rows; ++row) {
        const float* cos = call.cos + row * call.rotary;
        const float* sin = call.sin + row * call.rotary;
        for (int64_t head = 0; head < call.heads; ++head) {
            const float* from = x + row * x_stride + head * call.head_dim;
            float* to = y + row * y_stride + head * call.head_dim;
            each_vector(half, [&](int64_t i, int64_t n) {
                const Vec c = get(cos, i, n), s = get(sin, i, n) * call.direction;
                const Vec a = get(from, i, n), b = get(from + half, i, n);
                put(to, i, n, a * c - b * s);
                put(to + half, i, n, b * c + a * s);
            });
            if (to != from) std::memcpy(to + call.rotary, from + call.rotary, rest * sizeof(float));
        }
    }
}

// --- elementwise ---

void add(const float* x, int64_t size, float* y) {
    each_vector(size, [&](int64_t i, int64_t n) { put(y, i, n, get(y, i, n) + get(x, i, n)); });
}

void softcap(float* x, int64_t size, float cap) {
    each_vector(size,
                [&](int64_t i, int64_t n) { put(x, i, n, cap * tanh_of(get(x, i, n) / cap)); });
}

// --- attention ---

float max(const float* x, int64_t size) {
    Vec best = fill(kLowest);
    each_vector(size, [&](int64_t i, int64_t n) { best = larger(best, get(x, i, n, kLowest)); });
    return max_of(best);
}

float softmax_terms(float* scores, int64_t size, float& inverse) {
    const float largest = max(scores, size);
    Sums sums;
    each_summed(size, [&](int64_t i, int64_t n, auto s) {
        const Vec e = exp_or_nan(get(scores, i, n, kLowest) - largest);
        sums.sets[s] += e;
        put(scores, i, n, e);
    });
    const double sum = sums.wide();
    inverse = static_cast<float>(1 / sum);
    return static_cast<float>(std::log(sum) + static_cast<double>(largest));
}

float softmax(float* scores, int64_t size) {
    float inverse;
    const float log_sum = softmax_terms(scores, size, inverse);
    each_vector(size,
                [&](int64_t i, int64_t n) { put(scores, i, n, get(scores, i, n) * inverse); });
    return log_sum;
}

void softmax_backward(float* scores, float* dscores, int64_t size, float log_sum, float cap) {
    const auto probability = [&](int64_t i, int64_t n) {
        return exp_or_nan(get(scores, i, n, kLowest) - log_sum);
    };
    Sums products;
    each_summed(size, [&](int64_t i, int64_t n, auto s) {
        const Vec p = probability(i, n);
        products.sets[s] += p * get(dscores, i, n);
        if (cap == 0) put(scores, i, n, p);
    });
    const auto mean = static_cast<float>(products.wide());
    each_vector(size, [&](int64_t i, int64_t n) {
        if (cap == 0) return put(dscores, i, n, get(scores, i, n) * (get(dscores, i, n) - mean));
        const Vec share = get(scores, i, n) / cap, p = probability(i, n);
        put(dscores, i, n, p * (get(dscores, i, n) - mean) * (1.0F - share * share));
        put(scores, i, n, p);
    });
}

void narrow_row(const float* x, int64_t size, uint16_t* out) {
    each_vector(size, [&](int64_t i, int64_t n) {
        const Halves halves = narrow_vector(get(x, i, n));
        std::memcpy(out + i, &halves, n * sizeof(uint16_t));
    });
}

// --- scores of tokens ---

/// So that what is -inf, and padding, has a term of 0 · t and not NaN; NaN stays NaN.
Vec finite(Vec t) { return larger(fill(-1000.0F), t); }

/// Numbers whose sum is taken in fp32: few, since the tail of a large vocabulary must not be lost.
constexpr int64_t kSumRun = 256;

/// With t = z/τ and M = max t:  log Σ e^t = M + log S,  S = Σ e^(t - M),
///   H = log Σ e^t - Σ p t.
/// S is added up as exp_sum() does it for the blocks of a row that is sampled from.
void score(const float* logits, LogitRow& row) {
    const float inverse = row.inverse_temperature, largest = max(logits, row.size);
    double sum = 0, weighted = 0;  // Σ e^(t - M), Σ e^(t - M) (t - M)
    for (int64_t block = 0; block < row.size; block += kSumBlock) {
        double sum_of_block = 0;
        for (int64_t start = block; start < least(block + kSumBlock, row.size); start += kSumRun) {
            Sums part, part_weighted;
            each_summed(least(kSumRun, row.size - start), [&](int64_t i, int64_t n, auto s) {
                const Vec t = finite((get(logits + start, i, n, kLowest) - largest) * inverse);
                const Vec e = exp_or_nan(t);
                part.sets[s] += e;
                part_weighted.sets[s] += e * t;
            });
            sum_of_block += part.sum();
            weighted += part_weighted.sum();
        }
        sum += sum_of_block;
    }
    const double log_sum = std::log(sum);
    row.log_sum = static_cast<float>(log_sum + static_cast<double>(largest) * inverse);
    row.logprob = static_cast<float>(
        (static_cast<double>(logits[row.target]) - static_cast<double>(largest)) * inverse -
        log_sum);
    row.entropy = static_cast<float>(log_sum - weighted / sum);
}

/// dl/dt = onehot - p and dH/dt = -p (log p + H), times dt/dz = 1/τ.
void score_backward(float* logits, const LogitRow& row, float dl, float dh) {
    const float inverse = row.inverse_temperature;
    const float a = dl * inverse, b = dh * inverse;
    if (dh == 0) {
        each_vector(row.size, [&](int64_t i, int64_t n) {
            put(logits, i, n, exp_or_nan(get(logits, i, n) * inverse - row.log_sum) * -a);
        });
    } else {
        each_vector(row.size, [&](int64_t i, int64_t n) {
            const Vec log_p = finite(get(logits, i, n) * inverse - row.log_sum);
            put(logits, i, n, exp_or_nan(log_p) * -(a + b * (log_p + row.entropy)));
        });
    }
    logits[row.target] += a;
}

// --- drawing ---

/// Σ f(i, n) of the vectors of [0, size).
template <typename F>
inline __attribute__((always_inline)) double sum_in_runs(int64_t size, F f) {
    double total = 0;
    for (int64_t start = 0; start < size; start += kSumRun) {
        Sums sums;
        each_summed(least(kSumRun, size - start),
                    [&](int64_t i, int64_t n, auto s) { sums.sets[s] += f(start + i, n); });
        total += sums.sum();
    }
    return total;
}

double exp_sum(const float* x, int64_t size, float max, float scale, float* terms) {
    return sum_in_runs(size, [&](int64_t i, int64_t n) {
        const Vec term = exp_of((get(x, i, n, kLowest) - max) * scale);
        if (terms != nullptr) put(terms, i, n, term);
        return term;
    });
}

double keep(const float* scores, float least, int64_t size, float* terms) {
    return sum_in_runs(size, [&](int64_t i, int64_t n) {
        const Ints kept = get(scores, i, n) >= fill(least);
        const Vec term = (Vec)((Ints)get(terms, i, n) & kept);
        put(terms, i, n, term);
        return term;
    });
}

}  // namespace
}  // namespace grpo::cpu
