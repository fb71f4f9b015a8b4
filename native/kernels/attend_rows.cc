#include "kernels/attend_rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/row_kernels.h"

namespace grpo::cpu {
namespace {

/// The rows of one call as lines, `repeats` of each, with their scores beside each other.
class Lines {
  public:
    Lines(const HeadAttention& call, Scratch& scratch)
        : call_(call), dim_(call.layout.head_dim()), count_(call.num_rows * call.repeats) {
        first_ = call.rows[0].first;
        for (int64_t i = 0; i < call.num_rows; ++i) {
            first_ = std::min(first_, call.rows[i].first);
            width_ = std::max(width_, call.rows[i].end);
        }
        first_ -= first_ % kBlockTokens;
        const int64_t packed = packed_bytes() / static_cast<int64_t>(sizeof(float));
        // Packed lines begin at an address that is a multiple of 64.
        float* free = scratch.floats(packed + 16 + count_ * (width_ + 2 * dim_));
        packed_ = free;
        scores_ = free + (packed + 15) / 16 * 16;
        queries_ = scores_ + count_ * width_;
        mixed_ = queries_ + count_ * dim_;
    }

    void attend() {
        const int64_t size = call_.repeats * dim_;
        for (int64_t i = 0; i < call_.num_rows; ++i)
            std::memcpy(queries_ + i * size, call_.rows[i].q, size * sizeof(float));
        std::memset(mixed_, 0, count_ * dim_ * sizeof(float));
        const int64_t common = std::min(call_.shared * kBlockTokens, width_);
        by_keys(0, call_.num_rows, first_, common);
        for (int64_t i = 0; i < call_.num_rows; ++i) {
            const int64_t own = std::max(common, first_);
            by_keys(i, 1, own, call_.rows[i].end);
            soften(i, std::max(common, call_.rows[i].end));
        }
        by_values(0, call_.num_rows, first_, common);
        for (int64_t i = 0; i < call_.num_rows; ++i) {
            by_values(i, 1, std::max(common, first_), call_.rows[i].end);
            std::memcpy(call_.rows[i].out, mixed_ + i * size, size * sizeof(float));
        }
    }

  private:
    /// The product of the lines of rows [row, row + rows) with something.
    Product product_of(int64_t row, int64_t rows) const {
        return {.m = rows * call_.repeats,
                .n = 0,
                .k = 0,
                .storage = call_.layout.storage(),
                .a = {},
                .form = Form::kPanels,
                .c = nullptr,
                .c_stride = 0};
    }
    int64_t packed_bytes() const {
        Product product = product_of(0, call_.num_rows);
        product.k = std::max(dim_, kBlockTokens);
        return gemm_kernels().packed_bytes(product);
    }
    void pack(const Product& product) const {
        const GemmKernels& kernels = gemm_kernels();
        kernels.pack(product, 0, tiles_of(product.m, kernels.tile_rows), packed_);
    }
    /// f(block, its first token, how many) of the tokens [from, end) of a row; from a block's first
    /// on.
    template <typename F>
    void each_block(int64_t row, int64_t from, int64_t end, F f) const {
        for (int64_t token = from; token < end; token += kBlockTokens) {
            f(call_.memory.at(call_.rows[row].blocks[token / kBlockTokens]), token,
              std::min(kBlockTokens, end - token));
        }
    }

    /// Scores of rows against the keys of tokens [from, end), which all of them have.
    void by_keys(int64_t row, int64_t rows, int64_t from, int64_t end) const {
        if (from >= end) return;
        Product product = product_of(row, rows);
        product.k = dim_;
        product.a = {queries_ + row * call_.repeats * dim_, dim_, 1};
        product.scale = call_.scale;
        product.c_stride = width_;
        pack(product);
        each_block(row, from, end, [&](const uint32_t* block, int64_t token, int64_t count) {
            product.n = count;
            product.panels = call_.layout.keys(block);
            product.c = scores_ + row * call_.repeats * width_ + token;
            gemm_kernels().multiply_packed(product, packed_, 0, panels_of(count));
        });
    }

    /// What a row sees, as weights; zero for other tokens up to `end`.
    void soften(int64_t row, int64_t end) const {
        const HeadAttention::Row& seen = call_.rows[row];
        for (int64_t r = 0; r < call_.repeats; ++r) {
            float* s = scores_ + (row * call_.repeats + r) * width_;
            const int64_t count = seen.end - seen.first;
            if (call_.softcap != 0) row_kernels().softcap(s + seen.first, count, call_.softcap);
            row_kernels().softmax(s + seen.first, count);
            std::fill(s + first_, s + seen.first, 0.0F);
            std::fill(s + seen.end, s + end, 0.0F);
        }
    }

    /// Adds the values of tokens [from, end), which all of the rows have.
    void by_values(int64_t row, int64_t rows, int64_t from, int64_t end) const {
        Product product = product_of(row, rows);
        product.n = dim_;
        product.c = mixed_ + row * call_.repeats * dim_;
        product.c_stride = dim_;
        product.add = true;
        each_block(row, from, end, [&](const uint32_t* block, int64_t token, int64_t count) {
            product.k = count;
            product.a = {scores_ + row * call_.repeats * width_ + token, width_, 1};
            product.panels = call_.layout.values(block);
            pack(product);
            gemm_kernels().multiply_packed(product, packed_, 0, panels_of(dim_));
        });
    }

    const HeadAttention& call_;
    int64_t dim_, count_;
    int64_t first_ = 0, width_ = 0;  // first token that a line may see; one past the last
    float *packed_, *scores_, *queries_, *mixed_;
};

}  // namespace

void attend(const HeadAttention& call, Scratch& scratch) { Lines(call, scratch).attend(); }

}  // namespace grpo::cpu
