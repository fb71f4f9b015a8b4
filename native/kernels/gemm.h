// Products of matrices on a CPU, c = a b, in which an element's bits depend on its row of a, its
// column of b and nothing else: each has one fp32 accumulator that walks k in order, saved to c and
// loaded again between blocks, which loses nothing. So a row is the same alone and among thousands,
// on one thread and on many, from a weight that is kept packed and from one that is packed on the
// way; and decoding, prefill and training, which all multiply here, compute one policy.
//
// In bf16, a is rounded where it is packed, and pairs along k are multiplied as VDPBF16PS does it,
//   sum = fma(a[2i], b[2i], fma(a[2i + 1], b[2i + 1], sum))
// with denormal numbers as zero: processors without that instruction do the same by fp32 fma.
#pragma once

#include <cstdint>

namespace grpo::cpu {

/// What is multiplied: numbers in fp32, or rounded to bf16. Sums are fp32.
enum class Storage : uint8_t { kFloat, kBFloat16 };

/// Element (i, j) stands at data[i · row_stride + j · column_stride], in the type of `kept`.
struct Matrix {
    const void* data;
    int64_t row_stride, column_stride;
    Storage kept = Storage::kFloat;
};

/// A matrix b [k, n] as the kernels read it: 32 columns side by side for each step of k, which is
/// one number in fp32 and a pair in bf16 - a word either way. Numbers beyond k are zero.
struct Panels {
    const uint32_t* words;
    int64_t panel_words;  // from 32 columns to the next
    int64_t step_words;   // from one step of k to the next
};
constexpr int64_t kPanelColumns = 32;

constexpr int64_t numbers_of_step(Storage storage) { return storage == Storage::kFloat ? 1 : 2; }
constexpr int64_t steps_of(Storage storage, int64_t k) {
    return (k + numbers_of_step(storage) - 1) / numbers_of_step(storage);
}
constexpr int64_t panels_of(int64_t n) { return (n + kPanelColumns - 1) / kPanelColumns; }

/// How b is given.
enum class Form : uint8_t {
    kMatrix,  // numbers anywhere
    kPanels,  // packed
    kTurned,  // panels of bᵀ, [n, k]
};

/// c [m, n] = (scale · a) b, or += with `add`; each row of a also times its own of `row_scales`.
struct Product {
    int64_t m, n, k;
    Storage storage = Storage::kFloat;
    Matrix a;  // [m, k] in fp32
    float scale = 1;
    const float* row_scales = nullptr;  // [m], or none
    Form form = Form::kMatrix;
    Matrix b = {};       // [k, n]
    Panels panels = {};  // in place of b
    float* c;
    int64_t c_stride;  // between rows
    bool add = false;
};

/// Tiles of about one size that `m` rows are packed as.
constexpr int64_t tiles_of(int64_t m, int64_t tile_rows) { return (m + tile_rows - 1) / tile_rows; }

/// Of one instruction set. All sizes above 0.
struct GemmKernels {
    int64_t tile_rows;
    /// Bytes of all of a, packed.
    int64_t (*packed_bytes)(const Product& product);
    /// Tiles [begin, end) of a, of tiles_of(m, tile_rows).
    void (*pack)(const Product& product, int64_t begin, int64_t end, void* packed);
    /// Columns of the panels [begin, end) of c, all rows; b is given as panels.
    void (*multiply_packed)(const Product& product, const void* packed, int64_t begin, int64_t end);

    /// b [k, n] -> panels whose steps are 32 words apart, panels as far as given; the rest of an
    /// odd step is zero. For a b that several products share.
    void (*pack_panels)(Storage storage, const Matrix& b, int64_t k, int64_t n, uint32_t* out,
                        int64_t panel_words);

    /// out[i · width + lane] = from[lane · stride + i] for `depth` words of `lanes` lanes, whatever
    /// they hold.
    void (*transpose)(const uint32_t* from, int64_t stride, int64_t lanes, int64_t depth,
                      uint32_t* out, int64_t width);

    /// At an address that is a multiple of 64.
    int64_t (*scratch_bytes)(const Product& product);
    /// All of it, on the calling thread.
    void (*multiply)(const Product& product, void* scratch);
};

/// The GEMM kernels that are used.
const GemmKernels& gemm_kernels();

/// On as many threads as are worth it.
void multiply(const GemmKernels& kernels, const Product& product);
/// On the calling thread.
void multiply_alone(const GemmKernels& kernels, const Product& product);

}  // namespace grpo::cpu
