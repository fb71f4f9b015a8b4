// The cache of a rollout by operators, and how a decode step attends to it. What differs from step
// to step comes in one tensor, so that a step uploads once, and so that a step which a device has
// recorded reads what was written there before it is replayed.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <bit>
#include <compare>
#include <memory>
#include <vector>

#include "model/attention.h"
#include "model/rollout_cache.h"

namespace grpo {

/// The sizes that a step's tensors depend on.
struct DecodeShape {
    int64_t rows = 0;     // n
    int64_t prompts = 0;  // U
    int64_t width = 0;    // Gm: rows of a prompt
    int64_t time = 0;     // Tm: own tokens that a row may see
    int64_t pages = 0;    // Bm: of a row, where the cache has pages and no other of these but rows

    auto operator<=>(const DecodeShape&) const = default;
};

/// What is decoded in one step.
struct DecodeRows {
    std::vector<int64_t> ids;             // [n] the token that each row ends with
    std::vector<int64_t> slots;           // [n] of the row's prompt
    std::vector<int64_t> times;           // [n] the place of that token among the row's own
    std::vector<int64_t> prompt_lengths;  // [U]

    int64_t position(int64_t row) const { return prompt_lengths[slots[row]] + times[row]; }
};

/// The power of two that holds `size`, within bounds: what makes shapes few.
inline int64_t bucket(int64_t size, int64_t smallest, int64_t limit) {
    const auto next = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size)));
    return std::min(std::max(next, smallest), limit);
}

class StepInputs {
  public:
    virtual ~StepInputs() = default;
    /// Rows and uniforms within the shape. What the shape has beyond them computes on anything,
    /// and nobody reads the result.
    virtual void write(const DecodeRows& rows, const std::vector<double>& uniforms) = 0;

    at::Tensor ids, positions;  // [n] int64
    at::Tensor uniforms;        // [n] fp64
};

class StepCache : public RolloutCache {
  public:
    /// The smallest shape that holds the rows.
    virtual DecodeShape shape_of(const DecodeRows& rows) const = 0;
    /// One of few shapes that hold them.
    virtual DecodeShape fixed_shape_of(const DecodeRows& rows) const = 0;
    /// Inputs of steps of a shape, to be used while the cache lives.
    virtual std::unique_ptr<StepInputs> inputs(const DecodeShape& shape) = 0;
    /// For one step, whose inputs have been written.
    virtual std::shared_ptr<Attention> step_attention(const StepInputs& inputs) = 0;
};

}  // namespace grpo
