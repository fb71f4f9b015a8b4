// Vectors for the sources of the kernels, in the compiler's own vector types; the exponential on
// them; and loops over rows by vectors, where what does not fill one goes through one that is
// padded.
//
// Includes no ATen and no standard algorithm: an inline function of theirs, compiled with the flags
// of one instruction set, could be picked by the linker for the rest of the program. Everything is
// static for the same reason.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>
#include <utility>

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
/// The bf16 nearest to each as the lower half of a word, ties to even, denormal numbers to zero: as
/// VCVTNEPS2BF16 does it.
#if defined(GRPO_BF16_PAIRS)
Halves narrow_vector(Vec x) { return (Halves)_mm512_cvtneps_pbh((__m512)x); }
Words narrow_words(Vec x) { return (Words)_mm512_cvtepu16_epi32((__m256i)narrow_vector(x)); }
#else
Words narrow_words(Vec x) {
    const Words bits = (Words)x;
    const Words rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    const Words normal = (Words)((bits & 0x7F800000U) != 0);
    const Words number = (Words)(x == x);
    return (number & normal & rounded) | (~number & ((bits >> 16) | 0x40));
}
Halves narrow_vector(Vec x) { return __builtin_convertvector(narrow_words(x), Halves); }
#endif
/// Of two that do not compare, b.
#if defined(__AVX512F__)
Vec larger(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)a, (__m512)b); }
Vec smaller(Vec a, Vec b) { return (Vec)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__)
Vec larger(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)a, (__m256)b); }
Vec smaller(Vec a, Vec b) { return (Vec)_mm256_min_ps((__m256)a, (__m256)b); }
#else
Vec larger(Vec a, Vec b) { return a > b ? a : b; }
Vec smaller(Vec a, Vec b) { return a < b ? a : b; }
#endif
int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/// Sums of what stands in vectors, in 16 lanes whatever a vector has, so that every processor adds
/// in the same order.
constexpr int64_t kSumLanes = 16;
struct Sums {
    static constexpr int kSets = kSumLanes / kLanes;
    Vec sets[kSets] = {};

    /// Lane by lane, in double.
    double wide() const {
        double sum = 0;
        for (int s = 0; s < kSets; ++s) {
            for (int64_t i = 0; i < kLanes; ++i) sum += sets[s][i];
        }
        return sum;
    }
    float sum() const {
        Four parts[kSumLanes / 4];
        std::memcpy(parts, sets, sizeof(parts));
        const Four sum = ((parts[0] + parts[1]) + parts[2]) + parts[3];
        return (sum[0] + sum[2]) + (sum[1] + sum[3]);
    }
};
float max_of(Vec v) {
    float best = v[0];
    for (int64_t i = 1; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
    return best;
}

/// f(0), f(1), .. as constants. Loops over registers are written so, because a compiler that
/// unrolls a loop itself does it after it has placed the arrays in memory.
template <int N, typename F>
inline __attribute__((always_inline)) void each(F f) {
    [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
        (f(std::integral_constant<int, I>{}), ...);
    }
    (std::make_integer_sequence<int, N>{});
}

/// p · 2^n for a whole n, p about 1, where the result is a normal number.
inline __attribute__((always_inline)) Vec times_power(Vec p, Vec shifted, Vec magic) {
#if defined(__AVX512F__)
    return (Vec)_mm512_scalef_ps((__m512)p, (__m512)(shifted - magic));
#else
    return (Vec)((Ints)p + (((Ints)shifted - (Ints)magic) << 23));
#endif
}
/// exp(x) of x in [-87, 88] to about one unit in the last place: 2^n times a polynomial (Cephes).
inline __attribute__((always_inline)) Vec exp_within(Vec x) {
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
    return times_power(p, shifted, magic);
}
/// exp(x), zero below -87, at most exp(88); of NaN as well.
Vec exp_of(Vec x) {
    const Vec limit = fill(-87.0F);
    const Ints tiny = x < limit;
    const Vec e = exp_within(larger(smaller(x, fill(88.0F)), limit));
    return (Vec)((Ints)e & ~tiny);
}
/// The same where x may be NaN, which stays NaN.
#if defined(__AVX512F__)
Vec exp_or_nan(Vec x) {
    const Vec limit = fill(-87.0F);
    const Ints tiny = x < limit;
    const Vec e = exp_within(larger(limit, smaller(fill(88.0F), x)));
    return (Vec)((Ints)e & ~tiny);
}
#else
Vec exp_or_nan(Vec x) { return x == x ? exp_of(x) : x; }
#endif

Vec tanh_of(Vec x) { return 1.0F - 2.0F / (exp_or_nan(2.0F * x) + 1.0F); }
/// NaN stays NaN: a step whose loss is not finite must be seen.
Vec sigmoid(Vec x) { return 1.0F / (1.0F + exp_or_nan(-x)); }

#if defined(__AVX512F__)
__mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1U << n) - 1); }
Vec load_part(const float* from, int64_t n, float padding) {
    return (Vec)_mm512_mask_loadu_ps((__m512)fill(padding), first_lanes(n), from);
}
void store_part(float* to, int64_t n, Vec v) {
    _mm512_mask_storeu_ps(to, first_lanes(n), (__m512)v);
}
#elif defined(__AVX2__)
Ints first_lanes(int64_t n) { return Ints{0, 1, 2, 3, 4, 5, 6, 7} < static_cast<int32_t>(n); }
Vec load_part(const float* from, int64_t n, float padding) {
    const Ints lanes = first_lanes(n);
    return lanes ? (Vec)_mm256_maskload_ps(from, (__m256i)lanes) : fill(padding);
}
void store_part(float* to, int64_t n, Vec v) {
    _mm256_maskstore_ps(to, (__m256i)first_lanes(n), (__m256)v);
}
#else
Vec load_part(const float* from, int64_t n, float padding) {
    Vec v = fill(padding);
    std::memcpy(&v, from, n * sizeof(float));
    return v;
}
void store_part(float* to, int64_t n, Vec v) { std::memcpy(to, &v, n * sizeof(float)); }
#endif

/// Calls f(i, n) for every vector of [0, size); n is kLanes but for the last.
template <typename F>
inline __attribute__((always_inline)) void each_vector(int64_t size, F f) {
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) f(i, kLanes);
    if (i < size) f(i, size - i);
}
/// Calls f(i, n, s) for every vector of [0, size), where s is the set that its sums go to.
template <typename F>
inline __attribute__((always_inline)) void each_summed(int64_t size, F f) {
    int64_t i = 0;
    for (; i + kSumLanes <= size; i += kSumLanes) {
        each<Sums::kSets>([&](auto s)
                              __attribute__((always_inline)) { f(i + s * kLanes, kLanes, s); });
    }
    each<Sums::kSets>([&](auto s) __attribute__((always_inline)) {
        if (i < size) f(i, least(kLanes, size - i), s);
        i += kLanes;
    });
}
inline __attribute__((always_inline)) Vec get(const float* x, int64_t i, int64_t n,
                                              float padding = 0) {
    return n == kLanes ? load(x + i) : load_part(x + i, n, padding);
}
inline __attribute__((always_inline)) Vec get(const uint16_t* x, int64_t i, int64_t n) {
    if (n == kLanes) return load(x + i);
    uint16_t part[kLanes] = {};
    std::memcpy(part, x + i, n * sizeof(uint16_t));
    return load(part);
}
inline __attribute__((always_inline)) void put(float* x, int64_t i, int64_t n, Vec v) {
    n == kLanes ? store(x + i, v) : store_part(x + i, n, v);
}

}  // namespace
}  // namespace grpo::cpu
