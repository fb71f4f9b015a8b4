#include "grpo/completions.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "device.h"
#include "model/rows.h"

namespace grpo {

std::vector<RowRange> slice_rows(int64_t rows, int64_t rows_per_slice) {
    std::vector<RowRange> slices;
    const int64_t step = rows_per_slice > 0 ? rows_per_slice : std::max<int64_t>(rows, 1);
    for (int64_t begin = 0; begin < rows; begin += step) {
        slices.push_back({begin, std::min(begin + step, rows)});
    }
    return slices;
}

Completions::Completions(const std::vector<int64_t>& lengths, at::Device device) {
    std::vector<int64_t> present, flat;
    std::copy_if(lengths.begin(), lengths.end(), std::back_inserter(present),
                 [](int64_t length) { return length > 0; });
    count_ = static_cast<int64_t>(present.size());
    for (const int64_t length : present) width_ = std::max(width_, length);
    for (int64_t row = 0; row < count_; ++row) {
        for (int64_t t = 0; t < present[row]; ++t) flat.push_back(row * width_ + t);
    }
    const auto tokens = static_cast<int64_t>(flat.size());
    std::vector<int64_t> padded(count_ * width_, tokens);
    for (int64_t token = 0; token < tokens; ++token) padded[flat[token]] = token;
    lengths_ = to_device(present, device);
    padded_ = to_device(padded, device);
    flat_ = to_device(flat, device);
}

at::Tensor Completions::sum(const at::Tensor& tokens) const {
    return repack_rows(tokens, padded_, flat_).view({count_, width_}).sum(1);
}

at::Tensor Completions::mean(const at::Tensor& tokens) const {
    return sum(tokens) / lengths_.to(tokens.scalar_type());
}

at::Tensor Completions::spread(const at::Tensor& values) const {
    const at::Tensor repeated = values.unsqueeze(1).expand({count_, width_}).reshape({-1});
    return repack_rows(repeated, flat_, padded_);
}

}  // namespace grpo
