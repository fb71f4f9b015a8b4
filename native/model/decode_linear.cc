#include "model/decode_linear.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "kernels/row_kernels.h"

namespace grpo {
namespace {

using cpu::row_kernels;

at::Tensor in_float(const at::Tensor& tensor) {
    return tensor.detach().to(at::kFloat).contiguous();
}

}  // namespace

void DecodeLinear::Factors::multiply(const float* x, int64_t rows, float* y, int64_t stride,
                                     bool add, Workspace& workspace) const {
    const int64_t rank = a.out();
    float* low = workspace.low_rank.floats(rows * rank);
    a.multiply(x, rows, low, rank);
    for (int64_t i = 0; i < rows * rank; ++i) low[i] *= scaling;
    b.multiply(low, rows, y, stride, add);
}

DecodeLinear::DecodeLinear(const Linear& linear, const ForwardMode& mode)
    : out_(linear.base().module.out()) {
    const BaseLinear& base = linear.base();
    const LinearAdapter* adapter = linear.adapter(mode);
    const at::Tensor bias = adapter ? linear.bias_with(*adapter) : base.bias;
    if (bias.defined()) bias_ = in_float(bias);
    add_blocks(base, adapter);
    if (!adapter) return;
    for (size_t part = 0; part < adapter->loras.size(); ++part) {
        if (const auto& lora = adapter->loras[part])
            pairs_.push_back(pair_of(*lora, base.module.start(part)));
    }
    if (adapter->rows) {
        const at::Tensor ids = adapter->rows->ids;
        const auto* first = ids.const_data_ptr<int64_t>();
        own_rows_.push_back(
            {dense_weight(adapter->rows->rows.stored())->packed(), {first, first + ids.numel()}});
    }
}

void DecodeLinear::add_blocks(const BaseLinear& base, const LinearAdapter* adapter) {
    if (adapter && adapter->weight.whole.defined()) {
        blocks_.push_back({dense_weight(adapter->weight.whole.stored())->packed(), 0});
        return;
    }
    const auto trained = [](const Trained& part) { return part.defined(); };
    if (!adapter ||
        std::none_of(adapter->weight.parts.begin(), adapter->weight.parts.end(), trained)) {
        blocks_.push_back({base.weight->packed(), 0});
        return;
    }
    for (size_t part = 0; part < adapter->weight.parts.size(); ++part) {
        const Trained& own = adapter->weight.parts[part];
        blocks_.push_back(
            {(own.defined() ? dense_weight(own.stored()) : base.part_weight(part))->packed(),
             base.module.start(part)});
    }
}

DecodeLinear::Pair DecodeLinear::pair_of(const Lora& lora, int64_t start) {
    const auto scaling = static_cast<float>(lora.scaling);
    const auto factors = [&](const at::Tensor& a, const at::Tensor& b) {
        return Factors{cpu::PackedMatrix(in_float(a)), cpu::PackedMatrix(in_float(b)), scaling};
    };
    Pair pair{.start = start,
              .out = lora.b.size(0),
              .now = factors(lora.a, lora.b),
              .beginning = {},
              .column_factor = {}};
    if (lora.initial_a.defined()) pair.beginning = factors(lora.initial_a, lora.initial_b);
    if (lora.magnitude.defined()) pair.column_factor = in_float(lora.magnitude / lora.weight_norm);
    return pair;
}

void DecodeLinear::forward(const float* x, int64_t rows, float* y, Workspace& workspace) const {
    for (const Block& block : blocks_) block.weight->multiply(x, rows, y + block.start, out_);
    for (const Pair& pair : pairs_) add_pair(pair, x, rows, y + pair.start, workspace);
    if (bias_.defined()) {
        const float* bias = bias_.const_data_ptr<float>();
        for (int64_t r = 0; r < rows; ++r) row_kernels().add(bias, out_, y + r * out_);
    }
    if (!own_rows_.empty()) replace_rows(x, rows, y, workspace);
}

void DecodeLinear::add_pair(const Pair& pair, const float* x, int64_t rows, float* y,
                            Workspace& workspace) const {
    if (pair.beginning.a.defined()) {
        // Their difference first: it is zero, exactly, until the first step.
        const int64_t size = rows * pair.out;
        float* delta = workspace.delta.floats(size);
        float* beginning = workspace.beginning.floats(size);
        pair.now.multiply(x, rows, delta, pair.out, false, workspace);
        pair.beginning.multiply(x, rows, beginning, pair.out, false, workspace);
        for (int64_t i = 0; i < size; ++i) delta[i] -= beginning[i];
        for (int64_t r = 0; r < rows; ++r)
            row_kernels().add(delta + r * pair.out, pair.out, y + r * out_);
    } else {
        pair.now.multiply(x, rows, y, out_, true, workspace);
    }
    if (!pair.column_factor.defined()) return;
    const float* factor = pair.column_factor.const_data_ptr<float>();
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t n = 0; n < pair.out; ++n) y[r * out_ + n] *= factor[n];
    }
}

void DecodeLinear::replace_rows(const float* x, int64_t rows, float* y,
                                Workspace& workspace) const {
    for (const OwnRows& own : own_rows_) {
        const auto count = static_cast<int64_t>(own.ids.size());
        float* values = workspace.delta.floats(rows * count);
        own.rows->multiply(x, rows, values, count);
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t i = 0; i < count; ++i) y[r * out_ + own.ids[i]] = values[r * count + i];
        }
    }
}

}  // namespace grpo
