#include "kernels/head_block.h"

#include <cstring>

#include "kernels/row_kernels.h"

namespace grpo::cpu {
namespace {

constexpr int64_t kMostNumbers = 1024;  // that are rounded at a time

uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/// f(i, bits) of every number in bf16.
template <typename F>
void each_narrow(const float* x, int64_t size, F f) {
    uint16_t halves[kMostNumbers];
    for (int64_t start = 0; start < size; start += kMostNumbers) {
        const int64_t count = size - start < kMostNumbers ? size - start : kMostNumbers;
        row_kernels().narrow(x + start, count, halves);
        for (int64_t i = 0; i < count; ++i) f(start + i, uint32_t{halves[i]});
    }
}

}  // namespace

void HeadLayout::store(uint32_t* block, int64_t place, const float* k, const float* v) const {
    uint32_t* column = block + place / kPanelColumns * panel_words() + place % kPanelColumns;
    uint32_t* row = block + key_words() + place / numbers_of_step(storage_) * value_columns();
    if (storage_ == Storage::kFloat) {
        for (int64_t i = 0; i < dim_; ++i) column[i * kPanelColumns] = bits_of(k[i]);
        std::memcpy(row, v, dim_ * sizeof(float));
        return;
    }
    each_narrow(k, dim_, [&](int64_t i, uint32_t half) {
        uint32_t& word = column[i / 2 * kPanelColumns];
        word = i % 2 == 0 ? half : word | half << 16;
    });
    each_narrow(v, dim_, [&](int64_t i, uint32_t half) {
        row[i] = place % 2 == 0 ? half : row[i] | half << 16;
    });
}

}  // namespace grpo::cpu
