// Vectors for the sources of the kernels, in the compiler's own vector types; the exponential on
// them; and loops over rows by vectors, where what does not fill one goes through one that is
// padded.
//
// Includes no ATen and no standard algorithm: an inline function of theirs, compiled with the flags
// of one instruction set, could be picked by the linker for the rest of the program. Everything is
// static for the same reason.
#pragma once

#include <cstdint>
#include <cstring>

namespace grpo::cpu {
namespace {

constexpr int64_t kLanes = GRPO_LANES;

typedef float Vec __attribute__((vector_size(GRPO_LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(GRPO_LANES * 4)));
typedef uint32_t Words __attribute__((vector_size(GRPO_LANES * 4)));
typedef uint16_t Halves __attribute__((vector_size(GRPO_LANES * 2)));
typedef float Four __attribute__((vector_size(16)));

template <typename V, typename T>
V load_as(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof(v));
    return v;
}
Vec load(const float* x) { return load_as<Vec>(x); }
/// bf16 is the upper half of an fp32.
Vec load(const uint16_t* x) {
    return (Vec)(__builtin_convertvector(load_as<Halves>(x), Words) << 16);
}
void store(float* to, Vec v) { std::memcpy(to, &v, sizeof(v)); }
Vec fill(float x) { return x - Vec{}; }
float widen(float x) { return x; }
float widen(uint16_t x) {
    const uint32_t bits = uint32_t{x} << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof(wide));
    return wide;
}
/// To the nearest, ties to even; NaN does not occur.
uint16_t narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
Vec larger(Vec a, Vec b) { return a > b ? a : b; }
Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

Four fold(Vec v) {
    Four parts[kLanes / 4], sum;
    std::memcpy(parts, &v, sizeof(v));
    sum = parts[0];
    for (int64_t i = 1; i < kLanes / 4; ++i) sum += parts[i];
    return sum;
}
/// The sums of four vectors, beside each other.
Four sums_of(Vec a, Vec b, Vec c, Vec d) {
    const Four s = fold(a), t = fold(b), u = fold(c), v = fold(d);
    const Four st =
        __builtin_shufflevector(s, t, 0, 4, 1, 5) + __builtin_shufflevector(s, t, 2, 6, 3, 7);
    const Four uv =
        __builtin_shufflevector(u, v, 0, 4, 1, 5) + __builtin_shufflevector(u, v, 2, 6, 3, 7);
    return __builtin_shufflevector(st, uv, 0, 1, 4, 5) +
           __builtin_shufflevector(st, uv, 2, 3, 6, 7);
}
float sum_of(Vec v) {
    const Four s = fold(v);
    return (s[0] + s[2]) + (s[1] + s[3]);
}
double wide_sum_of(Vec v) {
    double sum = 0;
    for (int64_t i = 0; i < kLanes; ++i) sum += v[i];
    return sum;
}
float max_of(Vec v) {
    float best = v[0];
    for (int64_t i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
    return best;
}

/// exp(x) to about one unit in the last place: 2^n times a polynomial (Cephes). Zero below -87.
Vec exp_of(Vec x) {
    const Vec limit = fill(-87.0F);
    const Ints tiny = x < limit;
    x = larger(smaller(x, fill(88.0F)), limit);
    const Vec magic = fill(12582912.0F);  // 1.5 · 2^23: its last bits become the rounded integer
    const Vec shifted = x * 1.44269504088896341F + magic;
    const Vec n = shifted - magic;
    x = (x - n * 0.693359375F) - n * -2.12194440e-4F;
    Vec p = fill(1.9875691500e-4F);
    p = p * x + 1.3981999507e-3F;
    p = p * x + 8.3334519073e-3F;
    p = p * x + 4.1665795894e-2F;
    p = p * x + 1.6666665459e-1F;
    p = p * x + 5.0000001201e-1F;
    p = p * (x * x) + x + 1.0F;
    const Ints exponent = ((Ints)shifted - (Ints)magic) << 23;
    const Vec result = (Vec)((Ints)p + exponent);
    return (Vec)((Ints)result & ~tiny);
}
/// exp(x) where x may be NaN, which exp_of() takes for a large number.
Vec exp_or_nan(Vec x) { return x == x ? exp_of(x) : x; }

Vec tanh_of(Vec x) { return 1.0F - 2.0F / (exp_or_nan(2.0F * x) + 1.0F); }
/// NaN stays NaN: a step whose loss is not finite must be seen.
Vec sigmoid(Vec x) { return 1.0F / (1.0F + exp_or_nan(-x)); }

Vec load_part(const float* from, int64_t n, float padding) {
    Vec v = fill(padding);
    std::memcpy(&v, from, n * sizeof(float));
    return v;
}
void store_part(float* to, int64_t n, Vec v) { std::memcpy(to, &v, n * sizeof(float)); }

/// Calls f(i, n) for every vector of [0, size); n is kLanes but for the last.
template <typename F>
inline __attribute__((always_inline)) void each_vector(int64_t size, F f) {
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) f(i, kLanes);
    if (i < size) f(i, size - i);
}
inline __attribute__((always_inline)) Vec get(const float* x, int64_t i, int64_t n,
                                              float padding = 0) {
    return n == kLanes ? load(x + i) : load_part(x + i, n, padding);
}
inline __attribute__((always_inline)) void put(float* x, int64_t i, int64_t n, Vec v) {
    n == kLanes ? store(x + i, v) : store_part(x + i, n, v);
}

}  // namespace
}  // namespace grpo::cpu
