// Compiled with AVX2 and FMA; called only where the processor has them. Includes no ATen header, so
// that no inline function of theirs is compiled with these flags and picked by the linker for the
// rest.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace grpo::cpu {
namespace {

constexpr int64_t kLanes = 8;

__m256 load_bf16(const uint16_t* values) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(packed), 16));
}

float to_float(uint16_t value) {
    const uint32_t bits = uint32_t{value} << 16;
    float result;
    std::memcpy(&result, &bits, sizeof(result));
    return result;
}

float horizontal_sum(__m256 v) {
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}

/// R rows of x against C rows of the weight: R·C sums kept in registers.
template <int R, int C>
void tile(const float* x, const uint16_t* weight, float* y, int64_t in, int64_t out) {
    __m256 sums[R][C];
    for (auto& row : sums) {
        for (__m256& sum : row) sum = _mm256_setzero_ps();
    }
    int64_t k = 0;
    for (; k + kLanes <= in; k += kLanes) {
        __m256 w[C];
        for (int c = 0; c < C; ++c) w[c] = load_bf16(weight + c * in + k);
        for (int r = 0; r < R; ++r) {
            const __m256 value = _mm256_loadu_ps(x + r * in + k);
            for (int c = 0; c < C; ++c) sums[r][c] = _mm256_fmadd_ps(value, w[c], sums[r][c]);
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) {
            float sum = horizontal_sum(sums[r][c]);
            for (int64_t i = k; i < in; ++i) sum += x[r * in + i] * to_float(weight[c * in + i]);
            y[r * out + c] = sum;
        }
    }
}

template <int C>
void all_rows(const float* x, const uint16_t* weight, float* y, int64_t rows, int64_t in,
              int64_t out) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) tile<4, C>(x + r * in, weight, y + r * out, in, out);
    for (; r < rows; ++r) tile<1, C>(x + r * in, weight, y + r * out, in, out);
}

}  // namespace

void skinny_columns_avx2(const float* x, const uint16_t* weight, float* y, int64_t rows, int64_t in,
                         int64_t out, int64_t begin, int64_t end) {
    int64_t n = begin;
    for (; n + 2 <= end; n += 2) all_rows<2>(x, weight + n * in, y + n, rows, in, out);
    for (; n < end; ++n) all_rows<1>(x, weight + n * in, y + n, rows, in, out);
}

}  // namespace grpo::cpu
#endif
