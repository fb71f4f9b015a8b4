#include "kernels/linear.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "error.h"
#include "kernels/parallel.h"

namespace grpo::cpu {
namespace {

/// Rows that go through the kernel together: packed, they stay in the second-level cache.
constexpr int64_t kRowsTogether = 48;
/// Columns of one part of a loop: a multiple of any tile's, so that a sum's order does not depend
/// on who computes it.
constexpr int64_t kColumnsOfPart = 12;
/// Reading a weight costs as much as multiplying it this often.
constexpr int64_t kReadCost = 4;
/// And packing a number of x, which another thread may have in its cache, as much as this often.
constexpr int64_t kPackCost = 16;

}  // namespace

void* Scratch::bytes(int64_t count) {
    if (count > size_) {
        const int64_t grown = std::max(count, size_ + size_ / 2);
        memory_.reset();
        size_ = 0;
        memory_.reset(::operator new (static_cast<size_t>(grown), std::align_val_t{64}));
        size_ = grown;
    }
    return memory_.get();
}

bool can_store(at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kBFloat16; }

Storage storage_of(at::ScalarType dtype) {
    return dtype == at::kFloat ? Storage::kFloat : Storage::kBFloat16;
}

WeightView::WeightView(const at::Tensor& tensor)
    : data(tensor.const_data_ptr()),
      storage(storage_of(tensor.scalar_type())),
      in(tensor.size(1)),
      out(tensor.size(0)) {
    require(can_store(tensor.scalar_type()) && tensor.is_contiguous(),
            "a weight of the CPU kernels must be contiguous, in float32 or bfloat16");
}

void linear(const float* x, int64_t rows, const WeightView& weight, float* y, int64_t stride,
            Scratch& packed) {
    const ProductKernels& run = product_kernels();
    const int64_t in = weight.in;
    for (int64_t first = 0; first < rows; first += kRowsTogether) {
        const int64_t count = std::min(kRowsTogether, rows - first);
        void* x_packed = packed.bytes(run.packed_bytes(count, in));
        const int64_t tiles = (count + kPackedRows - 1) / kPackedRows;
        parallel(tiles, kPackedRows * in * kPackCost, [&](int64_t begin, int64_t end) {
            run.pack(weight.storage, x + first * in, in, begin * kPackedRows,
                     std::min(end * kPackedRows, count), x_packed);
        });
        float* y_first = y + first * stride;
        const int64_t parts = (weight.out + kColumnsOfPart - 1) / kColumnsOfPart;
        const int64_t cost = kColumnsOfPart * in * std::max(count, kReadCost);
        parallel(parts, cost, [&](int64_t begin, int64_t end) {
            run.dot_products(weight.storage, x_packed, count, weight.data, in, y_first, stride,
                             begin * kColumnsOfPart, std::min(end * kColumnsOfPart, weight.out));
        });
    }
}

bool can_skinny_linear(const at::Tensor& x, const at::Tensor& weight) {
    return x.is_cpu() && x.dim() == 2 && x.size(0) <= kSkinnyRows &&
           x.scalar_type() == at::kFloat && weight.scalar_type() == at::kBFloat16 &&
           weight.is_contiguous();
}

at::Tensor skinny_linear(const at::Tensor& x, const at::Tensor& weight) {
    const at::Tensor rows = x.contiguous();
    at::Tensor y = at::empty({rows.size(0), weight.size(0)}, rows.options());
    Scratch packed;
    linear(rows.const_data_ptr<float>(), rows.size(0), WeightView(weight),
           y.mutable_data_ptr<float>(), y.size(1), packed);
    return y;
}

}  // namespace grpo::cpu
