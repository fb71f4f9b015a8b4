// A linear layer as decoding uses it: its base weights, and whatever an adapter adds to it or puts
// in its place, as pointers that are found once a rollout. What it computes is Linear::forward.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "kernels/packed_matrix.h"
#include "kernels/scratch.h"
#include "model/adapter.h"
#include "model/linear.h"

namespace grpo {

/// Scratch of one decode step, shared by its layers.
struct Workspace {
    cpu::Scratch low_rank, delta, beginning;
    cpu::Scratch gate_up, activated;  // of the feed-forward
};

class DecodeLinear {
  public:
    DecodeLinear(const Linear& linear, const ForwardMode& mode);

    /// x [rows, in] -> y [rows, out], all parts beside each other.
    void forward(const float* x, int64_t rows, float* y, Workspace& workspace) const;
    int64_t out() const { return out_; }

  private:
    /// A weight of all parts, or of one of them.
    struct Block {
        std::shared_ptr<const Weight> weight;
        int64_t start;  // of its outputs
    };
    /// A LoRA pair, in fp32.
    struct Factors {
        cpu::PackedMatrix a;  // [R, in]
        cpu::PackedMatrix b;  // [out, R]
        float scaling = 1;

        /// y [rows, out] (+)= s x Aᵀ Bᵀ, rows of y `stride` apart.
        void multiply(const float* x, int64_t rows, float* y, int64_t stride, bool add,
                      Workspace& workspace) const;
    };
    struct Pair {
        int64_t start, out;
        Factors now;
        Factors beginning;         // PiSSA, OLoRA: undefined otherwise
        at::Tensor column_factor;  // [out] fp32, DoRA's m / ‖W + sBA‖; undefined otherwise
    };
    struct OwnRows {
        std::shared_ptr<const Weight> rows;  // [n, in]
        std::vector<int64_t> ids;            // [n] outputs that they replace
    };

    void add_blocks(const BaseLinear& base, const LinearAdapter* adapter);
    static Pair pair_of(const Lora& lora, int64_t start);
    void add_pair(const Pair& pair, const float* x, int64_t rows, float* y,
                  Workspace& workspace) const;
    void replace_rows(const float* x, int64_t rows, float* y, Workspace& workspace) const;

    int64_t out_ = 0;
    std::vector<Block> blocks_;
    std::vector<Pair> pairs_;
    std::vector<OwnRows> own_rows_;
    at::Tensor bias_;  // [out] fp32 or undefined
};

}  // namespace grpo
