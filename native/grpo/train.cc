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

// Columns of the per-completion sums that become the metrics.
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
    at::Tensor row;         // [tokens] int64
};

TokenData token_data(const TrainBatch& batch, const LossOptions& options, at::Device device) {
    std::vector<int64_t> lengths, rows;
    for (int64_t row = 0; row < batch.num_rows(); ++row)
        lengths.push_back(batch.completion_length(row));
    const std::vector<double> row_weights = token_weights(lengths, options);
    std::vector<float> advantages, weights;
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
        advantages.insert(advantages.end(), lengths[row], batch.advantages[row]);
        weights.insert(weights.end(), lengths[row], static_cast<float>(row_weights[row]));
        rows.insert(rows.end(), lengths[row], row);
    }
    TokenData data;
    data.advantages = to_device(advantages, device);
    data.weights = to_device(weights, device);
    data.row = to_device(rows, device);
    if (!batch.old_logprobs.empty()) data.old = to_device(batch.old_logprobs, device);
    if (!batch.reference_logprobs.empty())
        data.reference = to_device(batch.reference_logprobs, device);
    return data;
}

at::Tensor narrow_or_undefined(const at::Tensor& tensor, int64_t start, int64_t n) {
    return tensor.defined() ? tensor.narrow(0, start, n) : tensor;
}

/// Sums of the metrics by completion, kept on the device until the end of the batch.
class MetricSums {
  public:
    MetricSums(int64_t rows, at::Device device)
        : sums_(at::zeros({rows, kColumns}, at::TensorOptions().dtype(at::kFloat).device(device))),
          largest_(at::zeros({1}, sums_.options())) {}

    void add(const at::Tensor& row, const at::Tensor& weights, const TokenLoss& loss,
             const TokenScores& scores) {
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
        sums_.index_add_(0, row, at::stack(columns, 1));
        largest_ = at::maximum(largest_, columns[kDifference].amax(0, /*keepdim=*/true));
    }

    /// As TRL logs them: the loss summed, the rest averaged over the tokens of each slice and then
    /// over slices.
    LossResult result(int64_t rows_per_slice, ReadBack& read_back) const {
        const std::vector<double> values =
            read_back.operator()<double>(at::cat({sums_.view({-1}), largest_}));
        const int64_t rows = sums_.size(0), step = rows_per_slice > 0 ? rows_per_slice : rows;
        LossResult total;
        int64_t slices = 0;
        for (int64_t begin = 0; begin < rows; begin += step, ++slices) {
            add_slice(total, values.data() + begin * kColumns, std::min(step, rows - begin));
        }
        for (double* mean :
             {&total.entropy, &total.kl, &total.clip_low, &total.clip_high, &total.clip_low_min,
              &total.clip_high_max, &total.logp_difference_mean}) {
            *mean /= static_cast<double>(std::max<int64_t>(slices, 1));
        }
        total.clip_region = total.clip_low + total.clip_high;
        total.logp_difference_max = values.back();
        return total;
    }

  private:
    static void add_slice(LossResult& total, const double* values, int64_t rows) {
        double sums[kColumns] = {};
        double low_min = 1, high_max = 0;
        for (int64_t row = 0; row < rows; ++row) {
            const double* completion = values + row * kColumns;
            for (int column = 0; column < kColumns; ++column) sums[column] += completion[column];
            if (completion[kCount] == 0) continue;
            low_min = std::min(low_min, completion[kClipLow] / completion[kCount]);
            high_max = std::max(high_max, completion[kClipHigh] / completion[kCount]);
        }
        const double tokens = std::max(sums[kCount], 1.0);
        total.loss += sums[kLoss];
        total.entropy += sums[kEntropy] / tokens;
        total.kl += sums[kKl] / tokens;
        total.clip_low += sums[kClipLow] / tokens;
        total.clip_high += sums[kClipHigh] / tokens;
        total.clip_low_min += sums[kCount] > 0 ? low_min : 0;
        total.clip_high_max += high_max;
        total.logp_difference_mean += sums[kDifference] / tokens;
    }

    at::Tensor sums_;     // [B, kColumns] fp32
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

LossResult forward_backward(const Decoder& decoder, const TrainBatch& batch,
                            const LossOptions& options, double dropout, ReadBack& read_back,
                            const std::function<bool()>& cancelled) {
    const at::Device device = decoder.device();
    const TokenData data = token_data(batch, options, device);
    MetricSums metrics(batch.num_rows(), device);
    int64_t micro_batches = 0;
    for (const RowRange rows : plan_micro_batches(batch, options.max_tokens_per_micro_batch)) {
        check_cancelled(cancelled);
        const PackedInput input = pack_rows(batch, rows, device);
        if (input.targets.size(0) == 0) continue;
        ForwardMode mode = training_mode(dropout, options.dropout_seed, micro_batches, device);
        mode.checkpoint = options.gradient_checkpointing;
        const at::Tensor normed = predict_hidden(decoder, input, mode);  // [n, C]

        const auto derivative = [&](int64_t start, const TokenScores& scores) {
            const at::AutoGradMode with_grad(true);
            const int64_t from = input.first_token + start, n = scores.logprobs.size(0);
            const at::Tensor logprobs = scores.logprobs.detach().requires_grad_();
            const TokenLoss loss =
                token_loss({.logprobs = logprobs,
                            .old = narrow_or_undefined(data.old, from, n),
                            .reference = narrow_or_undefined(data.reference, from, n),
                            .advantages = data.advantages.narrow(0, from, n)},
                           options);
            const at::Tensor weights = data.weights.narrow(0, from, n);
            const at::Tensor gradient =
                torch::autograd::grad({(loss.loss * weights).sum()}, {logprobs})[0];
            const c10::NoGradGuard no_grad;
            metrics.add(data.row.narrow(0, from, n), weights, loss, scores);
            return gradient;
        };
        const at::Tensor gradient = backward_through_output(decoder, normed.detach(), input.targets,
                                                            options.temperature, mode, derivative);
        torch::autograd::backward({normed}, {gradient});
        ++micro_batches;
    }
    LossResult result = metrics.result(options.rows_per_slice, read_back);
    result.tokens = batch.num_tokens();
    result.micro_batches = micro_batches;
    return result;
}

std::vector<float> completion_logprobs(const Decoder& decoder, const Batch& batch,
                                       double temperature, int64_t max_tokens,
                                       const ForwardMode& mode, ReadBack& read_back,
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
            pieces.push_back(score_tokens(decoder, normed.narrow(0, start, n),
                                          input.targets.narrow(0, start, n), temperature, mode)
                                 .logprobs);
        }
    }
    if (pieces.empty()) return {};
    return read_back.operator()<float>(at::cat(pieces));
}

}  // namespace grpo
