// How the tokens of a batch form completions, and its completions slices. A slice is what TRL calls
// a micro-batch: per_device_train_batch_size completions that some normalizers and most metrics
// refer to. It has nothing to do with how the batch is cut to fit into memory.
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

/// Consecutive ranges of rows_per_slice rows; 0: one slice of all.
std::vector<RowRange> slice_rows(int64_t rows, int64_t rows_per_slice);

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
