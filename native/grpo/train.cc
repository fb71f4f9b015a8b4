#include "grpo/train.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <numeric>

#include "error.h"
#include "grpo/logprobs.h"
#include "grpo/loss.h"
#include "grpo/micro_batch.h"
#include "rollout/random.h"

namespace grpo {
namespace {

// Columns of the per-slice sums that become the metrics.
enum Column { kLoss, kEntropy, kKl, kClipLow, kClipHigh, kDifference, kCount, kColumns };

void check_cancelled(const std::function<bool()>& cancelled) {
    if (cancelled()) throw EngineError("CANCELLED", "the job was cancelled");
}

/// Everything the loss needs of each completion token of the batch, on the device.
struct TokenData {
    at::Tensor advantages;  // [tokens] fp32
    at::Tensor weights;     // [tokens] fp32
    at::Tensor old;         // [tokens] fp32 or undefined
    at::Tensor reference;   // [tokens] fp32 or undefined
    at::Tensor slice;       // [tokens] int64
    int64_t num_slices = 0;
};

TokenData token_data(const TrainBatch& batch, const LossOptions& options, at::Device device) {
    std::vector<int64_t> lengths, slices;
    for (int64_t row = 0; row < batch.num_rows(); ++row) lengths.push_back(batch.completion_length(row));
    const std::vector<double> row_weights = token_weights(lengths, options);
    const int64_t slice_rows = options.rows_per_slice > 0 ? options.rows_per_slice : batch.num_rows();
    std::vector<float> advantages, weights;
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
        advantages.insert(advantages.end(), lengths[row], batch.advantages[row]);
        weights.insert(weights.end(), lengths[row], static_cast<float>(row_weights[row]));
        slices.insert(slices.end(), lengths[row], row / slice_rows);
    }
    TokenData data;
    data.advantages = to_device(advantages, device);
    data.weights = to_device(weights, device);
    data.slice = to_device(slices, device);
    if (!batch.old_logprobs.empty()) data.old = to_device(batch.old_logprobs, device);
    if (!batch.reference_logprobs.empty()) data.reference = to_device(batch.reference_logprobs, device);
    data.num_slices = (batch.num_rows() + slice_rows - 1) / std::max<int64_t>(slice_rows, 1);
    return data;
}

at::Tensor narrow_or_undefined(const at::Tensor& tensor, int64_t start, int64_t n) {
    return tensor.defined() ? tensor.narrow(0, start, n) : tensor;
}

/// Sums of the metrics by slice, kept on the device until the end of the batch.
class MetricSums {
  public:
    MetricSums(int64_t slices, at::Device device)
        : sums_(at::zeros({slices, kColumns}, at::TensorOptions().dtype(at::kFloat).device(device))),
          largest_(at::zeros({1}, sums_.options())) {}

    void add(const at::Tensor& slice, const at::Tensor& weights, const TokenLoss& loss, const TokenScores& scores) {
        const at::Tensor ones = at::ones_like(weights);
        std::vector<at::Tensor> columns(kColumns, at::zeros_like(weights));
        columns[kLoss] = loss.loss.detach() * weights;
        columns[kEntropy] = scores.entropy;
        if (loss.kl.defined()) columns[kKl] = loss.kl;
        columns[kClipLow] = loss.clip_low;
        columns[kClipHigh] = loss.clip_high;
        columns[kDifference] = loss.difference;
        columns[kCount] = ones;
        for (at::Tensor& column : columns) column = column.to(at::kFloat);
        sums_.index_add_(0, slice, at::stack(columns, 1));
        largest_ = at::maximum(largest_, columns[kDifference].amax(0, /*keepdim=*/true));
    }

    /// Loss summed, the rest averaged over the tokens of each slice and then over slices, as TRL logs them.
    LossResult result(ReadBack& read_back) const {
        const std::vector<double> values = read_back.operator()<double>(at::cat({sums_.view({-1}), largest_}));
        LossResult result;
        const int64_t slices = sums_.size(0);
        for (int64_t s = 0; s < slices; ++s) {
            const double* row = values.data() + s * kColumns;
            const double scale = 1.0 / (std::max(row[kCount], 1.0) * static_cast<double>(slices));
            result.loss += row[kLoss];
            result.entropy += row[kEntropy] * scale;
            result.kl += row[kKl] * scale;
            result.clip_low += row[kClipLow] * scale;
            result.clip_high += row[kClipHigh] * scale;
            result.logp_difference_mean += row[kDifference] * scale;
        }
        result.clip_region = result.clip_low + result.clip_high;
        result.logp_difference_max = values.back();
        return result;
    }

  private:
    at::Tensor sums_;     // [slices, kColumns] fp32
    at::Tensor largest_;  // [1] fp32
};

/// An independent generator of dropout masks, a function of the seed and the micro-batch.
ForwardMode training_mode(double dropout, uint64_t seed, uint64_t micro_batch, at::Device device) {
    ForwardMode mode;
    mode.dropout = dropout;
    if (dropout > 0 && !device.is_meta()) {
        const auto key = philox({static_cast<uint32_t>(micro_batch), 0, 0, 0x64726f70u}, seed);
        mode.generator = at::globalContext().defaultGenerator(device).clone();
        mode.generator->set_current_seed((uint64_t{key[0]} << 32) | key[1]);
    }
    return mode;
}

}  // namespace

LossResult forward_backward(const Decoder& decoder, const TrainBatch& batch, const LossOptions& options,
                            double dropout, ReadBack& read_back, const std::function<bool()>& cancelled) {
    const at::Device device = decoder.device();
    const TokenData data = token_data(batch, options, device);
    MetricSums metrics(data.num_slices, device);
    int64_t micro_batches = 0;
    for (const RowRange rows : plan_micro_batches(batch, options.max_tokens_per_micro_batch)) {
        check_cancelled(cancelled);
        const PackedInput input = pack_rows(batch, rows, device);
        if (input.targets.size(0) == 0) continue;
        const at::Tensor normed = predict_hidden(
            decoder, input, training_mode(dropout, options.dropout_seed, micro_batches, device));  // [n, C]

        const auto derivative = [&](int64_t start, const TokenScores& scores) {
            const at::AutoGradMode with_grad(true);
            const int64_t from = input.first_token + start, n = scores.logprobs.size(0);
            const at::Tensor logprobs = scores.logprobs.detach().requires_grad_();
            const TokenLoss loss = token_loss({.logprobs = logprobs,
                                               .old = narrow_or_undefined(data.old, from, n),
                                               .reference = narrow_or_undefined(data.reference, from, n),
                                               .advantages = data.advantages.narrow(0, from, n)},
                                              options);
            const at::Tensor weights = data.weights.narrow(0, from, n);
            const at::Tensor gradient = torch::autograd::grad({(loss.loss * weights).sum()}, {logprobs})[0];
            const c10::NoGradGuard no_grad;
            metrics.add(data.slice.narrow(0, from, n), weights, loss, scores);
            return gradient;
        };
        const at::Tensor gradient =
            backward_through_output(decoder, normed.detach(), input.targets, options.temperature, derivative);
        torch::autograd::backward({normed}, {gradient});
        ++micro_batches;
    }
    LossResult result = metrics.result(read_back);
    result.tokens = batch.num_tokens();
    result.micro_batches = micro_batches;
    return result;
}

std::vector<float> completion_logprobs(const Decoder& decoder, const Batch& batch, double temperature,
                                       int64_t max_tokens, const ForwardMode& mode, ReadBack& read_back,
                                       const std::function<bool()>& cancelled) {
    const c10::InferenceMode inference;
    std::vector<at::Tensor> pieces;
    for (const RowRange rows : plan_micro_batches(batch, max_tokens)) {
        check_cancelled(cancelled);
        const PackedInput input = pack_rows(batch, rows, decoder.device());
        if (input.targets.size(0) == 0) continue;
        const at::Tensor normed = predict_hidden(decoder, input, mode);
        const int64_t total = normed.size(0), chunk = chunk_tokens(decoder);
        for (int64_t start = 0; start < total; start += chunk) {
            const int64_t n = std::min(chunk, total - start);
            pieces.push_back(score_tokens(decoder, normed.narrow(0, start, n), input.targets.narrow(0, start, n),
                                          temperature)
                                 .logprobs);
        }
    }
    if (pieces.empty()) return {};
    return read_back.operator()<float>(at::cat(pieces));
}

}  // namespace grpo
