// The GRPO losses on log-probabilities and entropies, with the names and numbers of TRL. For a
// token with advantage A (its completion's, or one of its own), log-probability l and entropy H:
//   ρ  = exp(l - l_old), or with sequence-level importance sampling exp of its mean over the
//        completion (GSPO, Zheng et al. 2025)
//   policy term P
//     grpo, bnpo, dr_grpo, dapo, luspo: -min(min(ρ, δ) A, clip(ρ, 1 - ε_low, 1 + ε_high) A)
//     cispo (MiniMax-M1):  -sg(min(ρ, ε_high)) A l
//     sapo:                -4/τ σ(τ (ρ - 1)) A,  τ by the sign of A
//     vespo:               -sg(φ(w)) A l,  w = Π ρ_token κ over the completion,
//                           φ(w) = exp(λ + k log w - λ w), k and λ by the sign of A
//   masks on P: tokens with A < 0 of completions whose mean of l_old - l is above the off-policy
//     threshold (DeepSeek-V3.2; l_sampling - l where another engine drew them), tokens below the
//     top entropies of their slice (Wang et al. 2025)
//   κ on P      = the bounded importance ratio of a token that another engine drew; in vespo in w
//   KL (k3)     = exp(l_ref - l) - (l_ref - l) - 1, times ρ under bias_correction_kl
//   loss        = Σ w (P + β KL) - c Σ over slices of their mean H / K
// with T tokens and B completions of a slice, t tokens of the completion, K slices a step:
//   grpo, sapo 1/(t B K) · bnpo 1/(T K) · dr_grpo 1/(max_completion_length B K) · luspo 1/(B K)
//   dapo, cispo, vespo 1/loss_tokens
// All weights are known before the batch is computed, so it may be cut in any way. Tokens are those
// that count in the loss; the formulas know of no others (TRL's completion_mask * tool_mask). A
// completion without any is one of the B completions all the same, and adds nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "batch.h"
#include "train/completions.h"

namespace grpo {

enum class LossType : uint8_t { kDapo, kGrpo, kDrGrpo, kBnpo, kCispo, kSapo, kLuspo, kVespo };
template <>
inline constexpr auto kNames<LossType> =
    std::to_array<Named<LossType>>({{"dapo", LossType::kDapo},
                                    {"grpo", LossType::kGrpo},
                                    {"dr_grpo", LossType::kDrGrpo},
                                    {"bnpo", LossType::kBnpo},
                                    {"cispo", LossType::kCispo},
                                    {"sapo", LossType::kSapo},
                                    {"luspo", LossType::kLuspo},
                                    {"vespo", LossType::kVespo}});

enum class ImportanceSampling : uint8_t { kToken, kSequence };
template <>
inline constexpr auto kNames<ImportanceSampling> = std::to_array<Named<ImportanceSampling>>(
    {{"token", ImportanceSampling::kToken}, {"sequence", ImportanceSampling::kSequence}});

/// The options of the loss under TRL's names. lib/options/loss.ts has their meaning, their defaults
/// and what else they may be; each must stand in `fields` too.
struct LossOptions {
    LossType loss_type = LossType::kDapo;
    ImportanceSampling importance_sampling_level = ImportanceSampling::kToken;
    double beta = 0;
    double epsilon = 0.2;  // ε_low
    double epsilon_high = 0.2;
    std::optional<double> delta;
    bool use_bias_correction_kl = true;
    double sapo_temperature_pos = 1;
    double sapo_temperature_neg = 1.05;
    double vespo_k_pos = 2;
    double vespo_lambda_pos = 3;
    double vespo_k_neg = 3;
    double vespo_lambda_neg = 2;
    std::optional<double> off_policy_mask_threshold;
    double top_entropy_quantile = 1;  // 1: every token
    double entropy_coef = 0;
    // What one call sets.
    int64_t max_completion_length = 0;       // needed by dr_grpo
    double loss_tokens = 0;                  // 0: the tokens of this batch that count
    double gradient_accumulation_steps = 0;  // slices of the step; 0: those of this batch
    bool skip_idle_rows = true;              // rows whose gradient is exactly zero
    bool sampled_elsewhere = false;          // by another engine than the one that trains
    PassOptions pass;

    bool sequence_level() const {
        return importance_sampling_level == ImportanceSampling::kSequence;
    }

    static void fields(auto& self, auto& field) {
        field("lossType", self.loss_type);
        field("importanceSamplingLevel", self.importance_sampling_level);
        field("beta", self.beta);
        field("epsilon", self.epsilon);
        field("epsilonHigh", self.epsilon_high);
        field("delta", self.delta);
        field("useBiasCorrectionKl", self.use_bias_correction_kl);
        field("sapoTemperaturePos", self.sapo_temperature_pos);
        field("sapoTemperatureNeg", self.sapo_temperature_neg);
        field("vespoKPos", self.vespo_k_pos);
        field("vespoLambdaPos", self.vespo_lambda_pos);
        field("vespoKNeg", self.vespo_k_neg);
        field("vespoLambdaNeg", self.vespo_lambda_neg);
        field("offPolicyMaskThreshold", self.off_policy_mask_threshold);
        field("topEntropyQuantile", self.top_entropy_quantile);
        field("entropyCoef", self.entropy_coef);
        field("maxCompletionLength", self.max_completion_length);
        field("lossTokens", self.loss_tokens);
        field("gradientAccumulationSteps", self.gradient_accumulation_steps);
        field("skipIdleRows", self.skip_idle_rows);
        field("sampledElsewhere", self.sampled_elsewhere);
        PassOptions::fields(self.pass, field);
    }
};

/// What the loss needs of each token and does not change during a step, all [tokens] and of one
/// floating dtype.
struct BatchTokens {
    at::Tensor advantages;
    at::Tensor weights;          // w
    at::Tensor old;              // undefined: the current ones, detached
    at::Tensor reference;        // defined when beta > 0
    at::Tensor sampling;         // for the metric, and sampled_elsewhere; undefined: old
    at::Tensor importance;       // κ; undefined: 1
    at::Tensor entropy_mask;     // 1 where the policy term counts; undefined: everywhere
    at::Tensor entropy_weights;  // c / (tokens of the slice that count · K); undefined: no bonus
};

/// The same for one call of token_loss, [n], with the current scores. `completions` tells which
/// tokens belong together, for losses that need that; null: every token stands alone.
struct LossTokens {
    BatchTokens batch;
    at::Tensor logprobs;  // may require grad
    at::Tensor entropy;   // may require grad
    const Completions* completions = nullptr;
};

struct TokenLoss {
    at::Tensor loss;        // [n] with weights and bonus; the sum is the batch's loss
    at::Tensor policy;      // [n] detached: the same without the bonus
    at::Tensor kl;          // [n] detached; undefined when beta = 0
    at::Tensor clip_low;    // [n] 1 where ρ < 1 - ε_low and A < 0
    at::Tensor clip_high;   // [n] 1 where ρ > 1 + ε_high (cispo: ε_high) and A > 0
    at::Tensor phi;         // [n] vespo's φ, else undefined
    at::Tensor difference;  // [n] |l - l_sampling| detached
};

TokenLoss token_loss(const LossTokens& tokens, const LossOptions& options);

/// What clip_low and clip_high are, by sequence-level importance sampling, of a completion without
/// tokens: its ratio is 1.
struct EmptyClip {
    double low = 0;
    double high = 0;
};
EmptyClip clip_without_tokens(double advantage, const LossOptions& options);

/// Whether a token's derivative depends on the other tokens of its completion. If so, token_loss
/// must see whole completions.
bool needs_whole_completions(const LossOptions& options, const BatchTokens& tokens);

/// Advantages [tokens] and weights of the tokens that are computed. The weights are those of the
/// whole batch, whatever is left out.
BatchTokens batch_tokens(const std::vector<double>& advantages, const BatchShape& shape,
                         const LossOptions& options, at::ScalarType dtype, at::Device device);

/// Fills in entropy_mask and entropy_weights. `entropy` [tokens] is needed for the mask only.
void add_entropy_terms(BatchTokens& tokens, const at::Tensor& entropy, const BatchShape& shape,
                       const LossOptions& options);

/// K: the slices of the step.
double accumulation_steps(const BatchShape& shape, const LossOptions& options);

/// Whether TRL divides by the tokens of the whole step.
bool divides_by_step_tokens(LossType type);

/// A batch in float64 with given scores of all its tokens: what the tests differentiate numerically
/// is the code that trains.
struct ScoredBatch {
    std::vector<int32_t> completion_offsets;                // [B + 1]
    std::vector<double> advantages;                         // [B]
    std::vector<double> token_advantages;                   // [tokens], or empty
    std::vector<double> logprobs, entropy, old, reference;  // [tokens]; the last two may be empty
    std::vector<double> sampling, importance_ratios;        // [tokens], or empty
    std::vector<uint8_t> loss_mask;                         // [tokens], or empty
    std::vector<int32_t> slice_offsets;                     // [S + 1], or empty

    static void fields(auto& self, auto& field) {
        field("offsets", self.completion_offsets);
        field("advantages", self.advantages);
        field.optional("tokenAdvantages", self.token_advantages);
        field("logprobs", self.logprobs);
        field("entropy", self.entropy);
        field("old", self.old);
        field("reference", self.reference);
        field.optional("sampling", self.sampling);
        field.optional("importanceRatios", self.importance_ratios);
        field.optional("lossMask", self.loss_mask);
        field.optional("sliceOffsets", self.slice_offsets);
    }
};
struct LossAndGradient {
    double loss = 0;
    std::vector<double> logprobs;  // dloss/dlogprob [tokens]; 0 where a token does not count
    std::vector<double> entropy;   // dloss/dentropy [tokens]; empty without a bonus

    static void fields(auto& self, auto& field) {
        field("loss", self.loss);
        field("logprobs", self.logprobs);
        field("entropy", self.entropy);
    }
};
LossAndGradient loss_and_gradient(const ScoredBatch& scored, const LossOptions& options);

}  // namespace grpo
