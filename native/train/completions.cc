#include "train/completions.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "device.h"
#include "error.h"
#include "model/rows.h"

namespace grpo {

int64_t BatchShape::tokens(RowRange range) const {
    return std::accumulate(counted.begin() + range.begin, counted.begin() + range.end, int64_t{0});
}

std::vector<double> BatchShape::spread(const std::vector<double>& values) const {
    std::vector<double> of_tokens;
    for (int64_t row = 0; row < rows(); ++row) {
        of_tokens.insert(of_tokens.end(), scored[row], values[row]);
    }
    return of_tokens;
}

std::vector<int64_t> counted_lengths(const std::vector<int32_t>& completion_offsets,
                                     const std::vector<uint8_t>& loss_mask) {
    std::vector<int64_t> lengths;
    for (size_t row = 1; row < completion_offsets.size(); ++row) {
        const int32_t begin = completion_offsets[row - 1], end = completion_offsets[row];
        lengths.push_back(
            loss_mask.empty()
                ? end - begin
                : end - begin - std::count(loss_mask.begin() + begin, loss_mask.begin() + end, 0));
    }
    return lengths;
}

std::vector<RowRange> slice_ranges(const std::vector<int32_t>& slice_offsets, int64_t rows) {
    if (slice_offsets.empty()) return {{0, rows}};
    require(slice_offsets.front() == 0 && slice_offsets.back() == rows &&
                std::is_sorted(slice_offsets.begin(), slice_offsets.end()),
            "slice offsets must start at 0, ascend, and end at the number of completions");
    std::vector<RowRange> slices;
    for (size_t i = 1; i < slice_offsets.size(); ++i)
        slices.push_back({slice_offsets[i - 1], slice_offsets[i]});
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
