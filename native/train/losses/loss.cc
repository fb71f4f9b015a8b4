#include "train/losses/loss.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "device.h"

namespace grpo {
namespace {

// Bounds of log w in vespo, and of each token's part in it.
constexpr double kLogRatioBound = 20;
const double kSmallestLogWeight = std::log(1e-8);
constexpr double kSmallestVespoLambda = 1e-4;
// The first tokens of a group have one and the same entropy. They must be on one side of the
// threshold also where they are computed apart and rounding tells them from each other.
constexpr double kTieTolerance = 1e-5;

at::Tensor choose(const at::Tensor& condition, double yes, double no, const at::Tensor& like) {
    return condition.to(like.scalar_type()) * (yes - no) + no;
}

/// Mean or sum over the token's completion, given to each of its tokens.
at::Tensor completion_mean(const LossTokens& tokens, const at::Tensor& values) {
    const Completions* completions = tokens.completions;
    return completions ? completions->spread(completions->mean(values)) : values;
}
at::Tensor completion_sum(const LossTokens& tokens, const at::Tensor& values) {
    const Completions* completions = tokens.completions;
    return completions ? completions->spread(completions->sum(values)) : values;
}

/// φ of vespo [n], a constant of the gradient.
at::Tensor gamma_weights(const LossTokens& tokens, const at::Tensor& log_ratio,
                         const LossOptions& options) {
    const at::Tensor& advantages = tokens.batch.advantages;
    const at::Tensor bounded = log_ratio.detach().clamp(-kLogRatioBound, kLogRatioBound);
    at::Tensor log_weight = completion_sum(tokens, bounded);
    if (tokens.batch.importance.defined()) {
        const at::Tensor log_importance =
            tokens.batch.importance.log().clamp(kSmallestLogWeight, kLogRatioBound);
        log_weight = log_weight + completion_sum(tokens, log_importance);
    }
    log_weight = log_weight.clamp(kSmallestLogWeight, kLogRatioBound);
    const at::Tensor gains = advantages >= 0;
    const at::Tensor k = choose(gains, options.vespo_k_pos, options.vespo_k_neg, advantages);
    const at::Tensor lambda =
        choose(gains, options.vespo_lambda_pos, options.vespo_lambda_neg, advantages)
            .clamp_min(kSmallestVespoLambda);
    const at::Tensor phi = (lambda + k * log_weight - lambda * log_weight.exp()).exp();
    return phi.masked_fill(phi == std::numeric_limits<double>::infinity(), 0);
}

/// How far the policy is from the one that drew the tokens [n], in nats. A log-probability that the
/// sampler did not know tells nothing.
at::Tensor token_drift(const BatchTokens& batch, const at::Tensor& current,
                       const at::Tensor& log_ratio, const LossOptions& options) {
    if (!options.sampled_elsewhere || !batch.sampling.defined()) return log_ratio.detach().neg();
    return (batch.sampling - current).nan_to_num(0.0);
}

/// P without masks [n]; also what its metrics count.
at::Tensor policy_term(const LossTokens& tokens, const at::Tensor& log_ratio,
                       const at::Tensor& ratio, const LossOptions& options, TokenLoss& result) {
    const at::Tensor& advantages = tokens.batch.advantages;
    const at::Tensor gains = advantages > 0;
    const auto dtype = advantages.scalar_type();
    result.clip_low = result.clip_high = at::zeros_like(advantages);
    switch (options.loss_type) {
        case LossType::kCispo: {
            result.clip_high = ((ratio.detach() > options.epsilon_high) & gains).to(dtype);
            const at::Tensor bounded = ratio.detach().clamp_max(options.epsilon_high);
            return -bounded * advantages * tokens.logprobs;
        }
        case LossType::kSapo: {
            const at::Tensor temperature = choose(gains, options.sapo_temperature_pos,
                                                  options.sapo_temperature_neg, advantages);
            return -(temperature * (ratio - 1)).sigmoid() * 4 / temperature * advantages;
        }
        case LossType::kVespo:
            result.phi = gamma_weights(tokens, log_ratio, options);
            return -result.phi * advantages * tokens.logprobs;
        default: {
            const double low = 1 - options.epsilon, high = 1 + options.epsilon_high;
            const at::Tensor clipped = ratio.clamp(low, high);
            const at::Tensor bounded = options.delta ? ratio.clamp_max(*options.delta) : ratio;
            result.clip_low = ((bounded.detach() < low) & (advantages < 0)).to(dtype);
            result.clip_high = ((bounded.detach() > high) & gains).to(dtype);
            return at::minimum(bounded * advantages, clipped * advantages).neg();
        }
    }
}

/// 1 for the top entropies of each slice: those of at least the 1 - share quantile.
at::Tensor top_entropy_mask(const at::Tensor& entropy, const BatchShape& shape, double share) {
    const bool narrow = entropy.scalar_type() == at::kFloat;
    std::vector<at::Tensor> masks;
    int64_t start = 0;
    for (const RowRange slice : shape.slices) {
        const int64_t n = shape.tokens(slice);
        if (n == 0) continue;
        const at::Tensor values = entropy.narrow(0, start, n);
        const at::Tensor sorted = std::get<0>(values.sort());
        // In the type of the values, as torch.quantile does it: the rank decides who is in.
        const double rank = narrow ? static_cast<float>(1 - share) * static_cast<float>(n - 1)
                                   : (1 - share) * static_cast<double>(n - 1);
        const auto below = static_cast<int64_t>(std::floor(rank));
        const auto above = static_cast<int64_t>(std::ceil(rank));
        const at::Tensor threshold =
            at::lerp(sorted.narrow(0, below, 1), sorted.narrow(0, above, 1),
                     rank - static_cast<double>(below));
        masks.push_back((values >= threshold * (1 - kTieTolerance)).to(entropy.scalar_type()));
        start += n;
    }
    return at::cat(masks);
}

at::Tensor upload(const std::vector<double>& values, at::ScalarType dtype, at::Device device) {
    // Rounded here: not every device has float64.
    if (dtype == at::kFloat)
        return to_device(std::vector<float>(values.begin(), values.end()), device);
    return to_device(values, device).to(dtype);
}

/// Values of the tokens that count to those of all tokens, with 0 for the others.
std::vector<double> put_counted(const std::vector<double>& values,
                                const std::vector<uint8_t>& loss_mask) {
    if (loss_mask.empty()) return values;
    std::vector<double> all(loss_mask.size(), 0);
    for (size_t token = 0, next = 0; token < all.size(); ++token) {
        if (loss_mask[token] != 0) all[token] = values[next++];
    }
    return all;
}

/// What the sum of a completion's losses is divided by, but for the slices of the step.
double divisor(double length, double slice_rows, double slice_tokens, const LossOptions& options) {
    switch (options.loss_type) {
        case LossType::kBnpo:
            return std::max(slice_tokens, 1.0);
        case LossType::kDrGrpo:
            return slice_rows * static_cast<double>(options.max_completion_length);
        case LossType::kLuspo:
            return slice_rows;
        default:
            return std::max(length, 1.0) * slice_rows;
    }
}

/// w of every completion: [B].
std::vector<double> completion_weights(const BatchShape& shape, const LossOptions& options) {
    const auto tokens_of = [&](RowRange rows) { return static_cast<double>(shape.tokens(rows)); };
    if (divides_by_step_tokens(options.loss_type)) {
        const double tokens =
            options.loss_tokens > 0 ? options.loss_tokens : tokens_of({0, shape.rows()});
        return std::vector<double>(shape.counted.size(), 1 / std::max(tokens, 1.0));
    }
    const double steps = accumulation_steps(shape, options);
    std::vector<double> weights;
    for (const RowRange slice : shape.slices) {
        const auto rows = static_cast<double>(slice.end - slice.begin);
        const double tokens = tokens_of(slice);
        for (int64_t row = slice.begin; row < slice.end; ++row) {
            const auto length = static_cast<double>(shape.counted[row]);
            weights.push_back(1 / (divisor(length, rows, tokens, options) * steps));
        }
    }
    return weights;
}

}  // namespace

bool divides_by_step_tokens(LossType type) {
    return type == LossType::kDapo || type == LossType::kCispo || type == LossType::kVespo;
}

double accumulation_steps(const BatchShape& shape, const LossOptions& options) {
    if (options.gradient_accumulation_steps > 0) return options.gradient_accumulation_steps;
    return std::max<double>(1, static_cast<double>(shape.slices.size()));
}

bool needs_whole_completions(const LossOptions& options, const BatchTokens& tokens) {
    const bool has_old = tokens.old.defined();
    const bool has_sampling = options.sampled_elsewhere && tokens.sampling.defined();
    const bool masked = options.top_entropy_quantile < 1;
    const bool weighted_kl = options.beta != 0 && options.use_bias_correction_kl;
    if (options.sequence_level() && (has_old || masked || weighted_kl)) return true;
    if (options.off_policy_mask_threshold && (has_old || has_sampling)) return true;
    return options.loss_type == LossType::kVespo && (has_old || tokens.importance.defined());
}

TokenLoss token_loss(const LossTokens& tokens, const LossOptions& options) {
    const BatchTokens& batch = tokens.batch;
    const at::Tensor current = tokens.logprobs.detach();
    const at::Tensor old = batch.old.defined() ? batch.old : current;
    const at::Tensor log_ratio = tokens.logprobs - old;
    const at::Tensor ratio =
        (options.sequence_level() ? completion_mean(tokens, log_ratio) : log_ratio).exp();

    TokenLoss result;
    at::Tensor loss = policy_term(tokens, log_ratio, ratio, options, result);
    if (options.off_policy_mask_threshold) {
        const at::Tensor drift =
            completion_mean(tokens, token_drift(batch, current, log_ratio, options));
        const at::Tensor kept =
            (batch.advantages >= 0) | (drift <= *options.off_policy_mask_threshold);
        loss = loss * kept.to(loss.scalar_type());
    }
    if (batch.entropy_mask.defined()) loss = loss * batch.entropy_mask;
    const bool weighted = batch.importance.defined() && options.loss_type != LossType::kVespo;
    if (weighted) loss = loss * batch.importance;
    if (options.beta != 0) {
        const at::Tensor log_reference = batch.reference - tokens.logprobs;
        at::Tensor kl = log_reference.exp() - log_reference - 1;
        if (options.use_bias_correction_kl) kl = kl * ratio;
        loss = loss + kl * options.beta;
        result.kl = kl.detach();
    }
    loss = loss * batch.weights;
    result.policy = loss.detach();
    result.loss =
        batch.entropy_weights.defined() ? loss - batch.entropy_weights * tokens.entropy : loss;
    const at::Tensor other = batch.sampling.defined() ? batch.sampling : old;
    result.difference = at::maximum(current - other, other - current);  // abs has no meta kernel
    return result;
}

EmptyClip clip_without_tokens(double advantage, const LossOptions& options) {
    switch (options.loss_type) {
        case LossType::kSapo:
        case LossType::kVespo:
            return {};
        case LossType::kCispo:
            return {.high = advantage > 0 && 1 > options.epsilon_high ? 1.0 : 0.0};
        default: {
            const double ratio = std::min(1.0, options.delta.value_or(1));
            return {.low = advantage < 0 && ratio < 1 - options.epsilon ? 1.0 : 0.0,
                    .high = advantage > 0 && ratio > 1 + options.epsilon_high ? 1.0 : 0.0};
        }
    }
}

BatchTokens batch_tokens(const std::vector<double>& advantages, const BatchShape& shape,
                         const LossOptions& options, at::ScalarType dtype, at::Device device) {
    BatchTokens tokens;
    tokens.advantages = upload(advantages, dtype, device);
    tokens.weights = upload(shape.spread(completion_weights(shape, options)), dtype, device);
    return tokens;
}

void add_entropy_terms(BatchTokens& tokens, const at::Tensor& entropy, const BatchShape& shape,
                       const LossOptions& options) {
    if (options.top_entropy_quantile < 1) {
        tokens.entropy_mask = tokens.weights.numel() > 0
                                  ? top_entropy_mask(entropy, shape, options.top_entropy_quantile)
                                  : at::zeros_like(tokens.weights);
    }
    if (options.entropy_coef == 0) return;
    const double steps = accumulation_steps(shape, options);
    const at::Tensor counts =
        tokens.entropy_mask.defined() ? tokens.entropy_mask : at::ones_like(tokens.weights);
    std::vector<at::Tensor> weights;
    int64_t start = 0;
    for (const RowRange slice : shape.slices) {
        const int64_t n = shape.tokens(slice);
        const at::Tensor counted = counts.narrow(0, start, n);
        weights.push_back(counted / counted.sum().clamp_min(1) * (options.entropy_coef / steps));
        start += n;
    }
    if (!weights.empty()) tokens.entropy_weights = at::cat(weights);
}

LossAndGradient loss_and_gradient(const ScoredBatch& scored, const LossOptions& options) {
    const auto counted = [&](const std::vector<double>& values) {
        return to_device(take_counted(values, scored.loss_mask), at::kCPU);
    };
    const std::vector<int64_t> lengths =
        counted_lengths(scored.completion_offsets, scored.loss_mask);
    const auto rows = static_cast<int64_t>(lengths.size());
    const BatchShape shape{lengths, lengths, slice_ranges(scored.slice_offsets, rows)};
    const Completions completions(lengths, at::kCPU);
    LossTokens tokens;
    const std::vector<double> advantages =
        scored.token_advantages.empty() ? shape.spread(scored.advantages)
                                        : take_counted(scored.token_advantages, scored.loss_mask);
    tokens.batch = batch_tokens(advantages, shape, options, at::kDouble, at::kCPU);
    if (!scored.old.empty()) tokens.batch.old = counted(scored.old);
    if (!scored.reference.empty()) tokens.batch.reference = counted(scored.reference);
    if (!scored.sampling.empty()) tokens.batch.sampling = counted(scored.sampling);
    if (!scored.importance_ratios.empty()) {
        tokens.batch.importance = counted(scored.importance_ratios);
    }
    tokens.logprobs = counted(scored.logprobs).requires_grad_();
    tokens.entropy = counted(scored.entropy).requires_grad_();
    add_entropy_terms(tokens.batch, tokens.entropy.detach(), shape, options);
    if (needs_whole_completions(options, tokens.batch)) {
        tokens.completions = &completions;
    }
    const at::Tensor loss = token_loss(tokens, options).loss.sum();
    const bool bonus = tokens.batch.entropy_weights.defined();
    ReadBack read_back;
    LossAndGradient result{.loss = loss.item<double>(), .logprobs = {}, .entropy = {}};
    std::vector<at::Tensor> inputs{tokens.logprobs};
    if (bonus) inputs.push_back(tokens.entropy);
    const auto gradients = torch::autograd::grad({loss}, inputs);
    const auto of_all_tokens = [&](const at::Tensor& gradient) {
        return put_counted(read_back.operator()<double>(gradient), scored.loss_mask);
    };
    result.logprobs = of_all_tokens(gradients[0]);
    if (bonus) result.entropy = of_all_tokens(gradients[1]);
    return result;
}

}  // namespace grpo
