// How the tokens of a batch form completions, and its completions slices. A slice is what TRL calls
// a micro-batch: the completions of per_device_train_batch_size rollouts, which some normalizers
// and most metrics refer to. It has nothing to do with how the batch is cut to fit into memory.
//
// A token is here one that counts in the loss: the others of a completion are known to the pass
// through the model (micro_batch.h) and to nothing behind it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace grpo {

/// Rows [begin, end) of a batch.
struct RowRange {
    int64_t begin = 0;
    int64_t end = 0;
};

/// The tokens of a batch by completion and slice.
struct BatchShape {
    std::vector<int64_t> counted;  // [B] tokens that count
    std::vector<int64_t> scored;   // [B] those that are computed; 0: the completion is left out
    std::vector<RowRange> slices;  // [S]

    int64_t rows() const { return static_cast<int64_t>(counted.size()); }
    /// That count in some rows.
    int64_t tokens(RowRange range) const;
    /// Values of completions, given to their tokens that are computed: [B] -> [tokens].
    std::vector<double> spread(const std::vector<double>& values) const;
};

/// Tokens that count, by completion.
std::vector<int64_t> counted_lengths(const std::vector<int32_t>& completion_offsets,
                                     const std::vector<uint8_t>& loss_mask);

/// Rows between two offsets each; without offsets one slice of all. Throws BAD_INPUT for offsets
/// that do not start at 0, ascend, and end at `rows`.
std::vector<RowRange> slice_ranges(const std::vector<int32_t>& slice_offsets, int64_t rows);

/// The values of the tokens that count.
template <typename T>
std::vector<T> take_counted(const std::vector<T>& values, const std::vector<uint8_t>& loss_mask) {
    if (loss_mask.empty() || values.empty()) return values;
    std::vector<T> taken;
    for (size_t token = 0; token < values.size(); ++token) {
        if (loss_mask[token] != 0) taken.push_back(values[token]);
    }
    return taken;
}

/// Sums over the tokens of each completion, and values of completions given to their tokens. Both
/// are differentiable, and add up in a fixed order.
class Completions {
  public:
    /// Lengths of the completions, in order; those of length 0 are left out.
    Completions(const std::vector<int64_t>& lengths, at::Device device);

    at::Tensor sum(const at::Tensor& tokens) const;     // [n] -> [completions]
    at::Tensor mean(const at::Tensor& tokens) const;    // [n] -> [completions]
    at::Tensor spread(const at::Tensor& values) const;  // [completions] -> [n]

  private:
    int64_t count_ = 0;
    int64_t width_ = 0;
    at::Tensor lengths_;  // [completions] int64
    at::Tensor padded_;   // [completions * width] int64: the token, or n for padding
    at::Tensor flat_;     // [n] int64: its place among the padded ones
};

}  // namespace grpo
