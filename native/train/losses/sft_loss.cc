#include "train/losses/sft_loss.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>

namespace grpo {
namespace {

enum Column { kLoss, kEntropy, kCorrect, kColumns };

/// 1 / loss_tokens.
double token_weight(const std::vector<int64_t>& lengths, const SftOptions& options) {
    const int64_t counted = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    const double tokens =
        options.loss_tokens > 0 ? options.loss_tokens : static_cast<double>(counted);
    return 1 / std::max(tokens, 1.0);
}

/// The row of every token that counts.
std::vector<int64_t> row_of_tokens(const std::vector<int64_t>& lengths) {
    std::vector<int64_t> rows;
    for (size_t row = 0; row < lengths.size(); ++row) {
        rows.insert(rows.end(), lengths[row], static_cast<int64_t>(row));
    }
    return rows;
}

}  // namespace

SftLoss::SftLoss(const Batch& batch, const SftOptions& options, at::Device device)
    : options_(options),
      weight_(token_weight(counted_lengths(batch.completion_offsets, batch.loss_mask), options)),
      row_(to_device(row_of_tokens(counted_lengths(batch.completion_offsets, batch.loss_mask)),
                     device)),
      sums_(at::zeros({batch.num_rows(), kColumns},
                      at::TensorOptions().dtype(at::kFloat).device(device))) {}

ScoreGradient SftLoss::differentiate(int64_t from, const TokenScores& scores,
                                     const Completions* /*completions*/) {
    const c10::NoGradGuard no_grad;
    const at::Tensor logprobs = scores.logprobs.to(at::kFloat);
    // What log-probabilities are multiplied by; of dft the probability, a constant of the gradient.
    const at::Tensor factor = options_.loss_type == SftLossType::kDft
                                  ? logprobs.exp().mul_(-weight_)
                                  : at::full_like(logprobs, -weight_);
    std::vector<at::Tensor> columns(kColumns);
    columns[kLoss] = factor * logprobs;
    columns[kEntropy] = scores.entropy.to(at::kFloat);
    columns[kCorrect] = scores.top1;
    {
        // Lanes add to rows of their own.
        const std::lock_guard lock(sums_mutex_);
        sums_.index_add_(0, row_.narrow(0, from, logprobs.size(0)), at::stack(columns, 1));
    }
    return {factor, at::Tensor()};
}

SftResult SftLoss::result(ReadBack& read_back) const {
    const std::vector<float> sums = read_back.operator()<float>(sums_.t().contiguous());
    const int64_t rows = sums_.size(0);
    const auto column = [&](Column index) {
        const auto begin = sums.begin() + index * rows;
        return std::vector<float>(begin, begin + rows);
    };
    return {.loss = column(kLoss), .entropy = column(kEntropy), .correct = column(kCorrect)};
}

SftResult sft_forward_backward(const Decoder& decoder, const Adapter& adapter, const Batch& batch,
                               const SftOptions& options, ReadBack& read_back,
                               const std::function<bool()>& cancelled) {
    SftLoss loss(batch, options, decoder.device());
    const int64_t micro_batches = backward(decoder, adapter, batch, options.pass, loss, cancelled);
    SftResult result = loss.result(read_back);
    result.micro_batches = micro_batches;
    return result;
}

SftResult sft_evaluate(const Decoder& decoder, const ForwardMode& mode, const Batch& batch,
                       const SftOptions& options, ReadBack& read_back,
                       const std::function<bool()>& cancelled) {
    SftLoss loss(batch, options, decoder.device());
    const int64_t micro_batches = evaluate(decoder, mode, batch, options.pass, loss, cancelled);
    SftResult result = loss.result(read_back);
    result.micro_batches = micro_batches;
    return result;
}

}  // namespace grpo
