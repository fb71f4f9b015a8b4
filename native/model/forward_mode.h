// What a forward pass needs to know besides its tokens.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "model/fused_linear.h"

namespace grpo {

class Adapter;

/// The pairs of each linear layer as one (fused_linear.h), by its number.
using StackedPairsTable = std::vector<StackedPairs>;

struct ForwardMode {
    const Adapter* adapter = nullptr;  // nullptr: the base model
    bool recompute = false;            // keep only the layers' inputs for the backward
    int64_t context_length = 0;  // of the longest sequence of the call, for length-dependent ropes
    double dropout = 0;          // acts in the training forward only
    std::optional<at::Generator> generator;      // of the dropout masks
    const StackedPairsTable* stacked = nullptr;  // of passes without gradient only
};

}  // namespace grpo
