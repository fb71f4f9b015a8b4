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
    256;  // words of a row that are moved at a time: their lines stay near

/// Moves numbers between rows of a matrix and their places in a panel: f(number of a row, place).
/// Of rows whose pairs do not begin with a word.
template <typename T, int kNumbers, typename F>
void each_place(int64_t rows, int64_t in, T* row_data, T* panel, F f) {
    for (int64_t lane = 0; lane < rows; ++lane) {
        T* row = row_data + lane * in;
        for (int64_t k = 0; k < in; ++k)
            f(row[k], panel[(k / kNumbers * kPanelColumns + lane) * kNumbers + k % kNumbers]);
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

template <typename F>
void PackedMatrix::each_panel(const at::Tensor& values, F f) const {
    const int64_t panel_numbers = words_.stride(0);
    of_storage(storage(), [&]<typename T, int kNumbers>() {
        auto* rows = static_cast<T*>(values.data_ptr());
        auto* panels = static_cast<T*>(words_.data_ptr());
        parallel(words_.size(0), 2 * panel_numbers, [&](int64_t begin, int64_t end) {
            for (int64_t j = begin; j < end; ++j) {
                f.template operator()<T, kNumbers>(
                    rows + j * kPanelColumns * in_, panels + j * panel_numbers,
                    std::min(kPanelColumns, out_ - j * kPanelColumns));
            }
        });
    });
}

void PackedMatrix::pack(const at::Tensor& values) {
    const int64_t panel_bytes = words_.stride(0) * words_.element_size();
    const int64_t words = in_ / numbers_of_step(storage());
    each_panel(values.to(dtype()).contiguous(), [&]<typename T, int kNumbers>(T* rows, T* panel,
                                                                              int64_t count) {
        if (count < kPanelColumns || in_ % kNumbers != 0) std::memset(panel, 0, panel_bytes);
        if (in_ % kNumbers != 0) {
            return each_place<T, kNumbers>(count, in_, rows, panel,
                                           [](const T& number, T& place) { place = number; });
        }
        const auto* from = reinterpret_cast<const uint32_t*>(rows);
        auto* to = reinterpret_cast<uint32_t*>(panel);
        for (int64_t k = 0; k < words; k += kTogether) {
            gemm_kernels().transpose(from + k, words, count, std::min(kTogether, words - k),
                                     to + k * kPanelColumns, kPanelColumns);
        }
    });
}

at::Tensor PackedMatrix::empty() const { return at::empty({out_, in_}, words_.options()); }

at::Tensor PackedMatrix::unpack() const {
    at::Tensor values = empty();
    const int64_t words = in_ / numbers_of_step(storage());
    each_panel(values, [&]<typename T, int kNumbers>(T* rows, T* panel, int64_t count) {
        if (in_ % kNumbers != 0) {
            return each_place<T, kNumbers>(count, in_, rows, panel,
                                           [](T& number, const T& place) { number = place; });
        }
        const auto* from = reinterpret_cast<const uint32_t*>(panel);
        auto* to = reinterpret_cast<uint32_t*>(rows);
        for (int64_t k = 0; k < words; k += kTogether) {
            gemm_kernels().transpose(from + k * kPanelColumns, kPanelColumns,
                                     std::min(kTogether, words - k), count, to + k, words);
        }
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
