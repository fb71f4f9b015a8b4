// Products of a few rows with a weight, and the attention of a decode step, on a CPU. Activations
// are fp32; weights and cached keys and values are fp32 or bf16 and widened in registers; sums are
// fp32. gemm.h has the products of many rows. The plain versions are at::linear and attention by
// operators.
#pragma once

#include <cstdint>

namespace grpo::cpu {

/// How weights or cached keys and values are stored.
enum class Storage : uint8_t { kFloat, kBFloat16 };

/// The queries of several rows of one kv head, all of one prompt, against that prompt's keys and
/// each against its own.
struct HeadAttention {
    struct Row {
        const float* q;     // [repeats, D]
        float* out;         // [repeats, D]
        const void* own_k;  // [own, D]
        const void* own_v;  // [own, D]
        int64_t own;        // tokens of its own so far, this one included
        int64_t first;      // of prompt and own tokens in line, the first one that is seen
    };
    const Row* rows;
    int64_t num_rows;
    int64_t repeats;       // H / K
    int64_t head_dim;      // D
    const void* prompt_k;  // [prompt, D]
    const void* prompt_v;  // [prompt, D]
    int64_t prompt;
    Storage storage;
    float scale;
    float softcap;  // 0: off
    float* scores;  // scratch [num_rows · repeats, stride]
    int64_t stride;
    float* mixed;  // scratch [num_rows · repeats, D]
    void* packed;  // scratch, packed_bytes(num_rows · repeats, D) + packed_bytes(repeats, D)
};

/// Rows that are packed as one tile.
constexpr int64_t kPackedRows = 4;

struct ProductKernels {
    /// Bytes of `rows` rows of x once packed, at an address that is a multiple of 64.
    int64_t (*packed_bytes)(int64_t rows, int64_t in);
    /// Rows [begin, end) of x [rows, in] -> the order in which dot_products reads it. `begin` is a
    /// multiple of kPackedRows, `end` is another or the last row's.
    void (*pack)(Storage storage, const float* x, int64_t in, int64_t begin, int64_t end,
                 void* packed);
    /// y[r, n] = Σ_k x[r, k] w[n, k] for n in [begin, end); w [out, in], y rows `stride` apart.
    void (*dot_products)(Storage storage, const void* packed, int64_t rows, const void* weight,
                         int64_t in, float* y, int64_t stride, int64_t begin, int64_t end);
    /// y[r, :] += Σ_j p[r, j] v[j, :]; v [count, width] in fp32, p [rows, p_stride].
    void (*add_weighted_sums)(const float* p, int64_t p_stride, int64_t rows, const float* v,
                              int64_t count, int64_t width, float* y, int64_t y_stride);
    void (*attend)(const HeadAttention& call);
    /// x [size] in the storage's type.
    void (*store)(Storage storage, const float* x, int64_t size, void* out);
};

/// The kernels for few rows that are used.
const ProductKernels& product_kernels();

}  // namespace grpo::cpu
