// The losses of supervised fine-tuning, with the names and numbers of TRL. For a token that counts,
// with log-probability l:
//   nll: -l
//   dft: -sg(exp l) l  (Dynamic Fine-Tuning, Wu et al. 2025)
//   loss = Σ / loss_tokens
// and, of each row, what TRL's metrics are made of: sums of its loss and entropy, and how many of
// its tokens are the likeliest ones.
#pragma once

#include <mutex>

#include "batch.h"
#include "device.h"
#include "train/train.h"

namespace grpo {

enum class SftLossType : uint8_t { kNll, kDft };
template <>
inline constexpr auto kNames<SftLossType> =
    std::to_array<Named<SftLossType>>({{"nll", SftLossType::kNll}, {"dft", SftLossType::kDft}});

/// lib/options/sft-loss.ts has their meaning and defaults; each must stand in `fields` too.
struct SftOptions {
    SftLossType loss_type = SftLossType::kNll;
    double loss_tokens = 0;  // 0: the tokens of this batch that count
    PassOptions pass;

    static void fields(auto& self, auto& field) {
        field("lossType", self.loss_type);
        field("lossTokens", self.loss_tokens);
        PassOptions::fields(self.pass, field);
    }
};

/// Sums over the tokens of each row that count: [B] each.
struct SftResult {
    std::vector<float> loss;     // divided by loss_tokens
    std::vector<float> entropy;  // in nats
    std::vector<float> correct;  // tokens that were the likeliest
    int64_t micro_batches = 0;

    static void fields(auto& self, auto& field) {
        field("loss", self.loss);
        field("entropy", self.entropy);
        field("correct", self.correct);
        field("microBatches", self.micro_batches);
    }
};

class SftLoss final : public Loss {
  public:
    SftLoss(const Batch& batch, const SftOptions& options, at::Device device);

    bool needs_top1() const override { return true; }
    ScoreGradient differentiate(int64_t from, const TokenScores& scores,
                                const Completions* completions) override;

    /// After the last derivative. Reads back once.
    SftResult result(ReadBack& read_back) const;

  private:
    const SftOptions& options_;
    const double weight_;  // of a token in the loss
    at::Tensor row_;       // [tokens] int64
    at::Tensor sums_;      // [B, 3] fp32
    std::mutex sums_mutex_;
};

/// Adds the gradient of the batch's loss to the adapter. Reads back once. Throws CANCELLED between
/// micro-batches, which leaves a part of the gradient behind.
SftResult sft_forward_backward(const Decoder& decoder, const Adapter& adapter, const Batch& batch,
                               const SftOptions& options, ReadBack& read_back,
                               const std::function<bool()>& cancelled);

/// The same numbers without gradient and dropout. Reads back once.
SftResult sft_evaluate(const Decoder& decoder, const ForwardMode& mode, const Batch& batch,
                       const SftOptions& options, ReadBack& read_back,
                       const std::function<bool()>& cancelled);

}  // namespace grpo
