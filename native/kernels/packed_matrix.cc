#include "kernels/packed_matrix.h"

#include <ATen/Functions.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstring>

#include "error.h"
#include "kernels/parallel.h"

namespace grpo::cpu {
namespace {

constexpr size_t kLarge = 4 << 20;  // bytes from which large pages are asked for
constexpr int64_t kTogether =
    16;  // steps of 32 rows that are moved at a time: their lines stay near

/// Moves numbers between rows of a matrix and their places in a panel: f(number of a row, place).
template <typename T, int kNumbers, typename F>
void each_place(int64_t rows, int64_t in, T* row_data, T* panel, F f) {
    for (int64_t from = 0; from < in; from += kTogether * kNumbers) {
        const int64_t to = std::min(in, from + kTogether * kNumbers);
        for (int64_t lane = 0; lane < rows; ++lane) {
            T* row = row_data + lane * in;
            for (int64_t k = from; k < to; ++k)
                f(row[k], panel[(k / kNumbers * kPanelColumns + lane) * kNumbers + k % kNumbers]);
        }
    }
}

/// Asks for large pages, before the memory is touched: a decode step reads all of a model, and
/// with small ones spends a tenth of its time looking up addresses.
void prefer_large_pages([[maybe_unused]] const at::Tensor& words) {
#if defined(__linux__)
    constexpr uintptr_t kPage = 4096;
    const auto begin = (reinterpret_cast<uintptr_t>(words.data_ptr()) + kPage - 1) / kPage * kPage;
    const auto end = reinterpret_cast<uintptr_t>(words.data_ptr()) + words.nbytes();
    // Advice; nothing depends on whether it is taken.
    if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

/// Calls f.template operator()<number type, numbers of a step>().
template <typename F>
void of_storage(Storage storage, F f) {
    storage == Storage::kFloat ? f.template operator()<float, 1>()
                               : f.template operator()<uint16_t, 2>();
}

}  // namespace

bool can_store(at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kBFloat16; }

Storage storage_of(at::ScalarType dtype) {
    return dtype == at::kFloat ? Storage::kFloat : Storage::kBFloat16;
}

PackedMatrix::PackedMatrix(int64_t out, int64_t in, at::ScalarType dtype) : out_(out), in_(in) {
    require(can_store(dtype), "a packed weight must be in float32 or bfloat16");
    const Storage storage = storage_of(dtype);
    words_ = at::empty(
        {panels_of(out), steps_of(storage, in), kPanelColumns, numbers_of_step(storage)}, dtype);
    if (words_.nbytes() >= kLarge) prefer_large_pages(words_);
}

PackedMatrix::PackedMatrix(const at::Tensor& values)
    : PackedMatrix(values.size(0), values.size(1), values.scalar_type()) {
    pack(values);
}

void PackedMatrix::pack(const at::Tensor& values) {
    const at::Tensor rows = values.to(dtype()).contiguous();
    const int64_t panel_numbers = words_.stride(0);
    of_storage(storage(), [&]<typename T, int kNumbers>() {
        auto* from = static_cast<T*>(rows.data_ptr());
        auto* to = static_cast<T*>(words_.data_ptr());
        parallel(words_.size(0), 2 * panel_numbers, [&](int64_t begin, int64_t end) {
            for (int64_t j = begin; j < end; ++j) {
                const int64_t count = std::min(kPanelColumns, out_ - j * kPanelColumns);
                T* panel = to + j * panel_numbers;
                if (count < kPanelColumns || in_ % kNumbers != 0)
                    std::memset(panel, 0, panel_numbers * sizeof(T));
                each_place<T, kNumbers>(count, in_, from + j * kPanelColumns * in_, panel,
                                        [](const T& number, T& place) { place = number; });
            }
        });
    });
}

at::Tensor PackedMatrix::unpack() const {
    at::Tensor values = at::empty({out_, in_}, words_.options());
    const int64_t panel_numbers = words_.stride(0);
    of_storage(storage(), [&]<typename T, int kNumbers>() {
        auto* to = static_cast<T*>(values.data_ptr());
        auto* from = static_cast<T*>(words_.data_ptr());
        parallel(words_.size(0), 2 * panel_numbers, [&](int64_t begin, int64_t end) {
            for (int64_t j = begin; j < end; ++j) {
                const int64_t count = std::min(kPanelColumns, out_ - j * kPanelColumns);
                each_place<T, kNumbers>(count, in_, to + j * kPanelColumns * in_,
                                        from + j * panel_numbers,
                                        [](T& number, const T& place) { number = place; });
            }
        });
    });
    return values;
}

at::Tensor PackedMatrix::rows(const at::Tensor& ids) const {
    const at::Tensor index = ids.contiguous();
    at::Tensor values = at::empty({ids.numel(), in_}, words_.options());
    const auto* id = index.const_data_ptr<int64_t>();
    of_storage(storage(), [&]<typename T, int kNumbers>() {
        auto* to = static_cast<T*>(values.data_ptr());
        auto* from = static_cast<T*>(words_.data_ptr());
        parallel(ids.numel(), 8 * in_, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                T* lane = from + id[i] / kPanelColumns * words_.stride(0) +
                          id[i] % kPanelColumns * kNumbers;
                each_place<T, kNumbers>(1, in_, to + i * in_, lane,
                                        [](T& number, const T& place) { number = place; });
            }
        });
    });
    return values;
}

PackedMatrix PackedMatrix::part(int64_t start, int64_t count) const {
    PackedMatrix part;
    part.out_ = count;
    part.in_ = in_;
    part.words_ = words_.narrow(0, start / kPanelColumns, panels_of(count));
    return part;
}

PackedMatrix PackedMatrix::copy() const {
    PackedMatrix copy = *this;
    copy.words_ = words_.clone();
    return copy;
}

Panels PackedMatrix::panels() const {
    const auto* words = static_cast<const uint32_t*>(words_.const_data_ptr());
    const int64_t numbers = words_.size(3);
    return {words, words_.stride(0) / numbers, kPanelColumns};
}

void PackedMatrix::multiply(const float* x, int64_t rows, float* y, int64_t stride,
                            bool add) const {
    cpu::multiply(gemm_kernels(), {.m = rows,
                                   .n = out_,
                                   .k = in_,
                                   .storage = storage(),
                                   .a = {x, in_, 1},
                                   .form = Form::kPanels,
                                   .panels = panels(),
                                   .c = y,
                                   .c_stride = stride,
                                   .add = add});
}

void PackedMatrix::multiply_turned(const float* dy, int64_t stride, int64_t rows, float* dx) const {
    cpu::multiply(gemm_kernels(), {.m = rows,
                                   .n = in_,
                                   .k = out_,
                                   .storage = storage(),
                                   .a = {dy, stride, 1},
                                   .form = Form::kTurned,
                                   .panels = panels(),
                                   .c = dx,
                                   .c_stride = in_});
}

}  // namespace grpo::cpu
