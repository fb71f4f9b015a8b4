// Plain structs that cross the boundary: no tensors, no JavaScript. Ragged lists are one flat
// vector with an offsets vector beside it ([n + 1] entries, offsets[0] = 0).
//
// Dimension letters, here and in every shape comment:
//   N tokens of one pass (no padding)   B rows (completions)   P prompts   G completions a prompt
//   C hidden   F mlp   H heads   K kv heads   D head dim   V vocabulary   T time   R adapter rank
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grpo {

/// One rotary embedding; the leading 2 · inv_freq.size() dimensions of each head are rotated.
struct RopeConfig {
    std::vector<float> inv_freq;
    double scaling = 1;         // factor on cos and sin
    int64_t switch_length = 0;  // longer sequences use the long pair ("longrope"); 0: never
    std::vector<float> long_inv_freq;
    double long_scaling = 1;
    double dynamic_factor = 0;  // "dynamic": NTK growth of theta beyond dynamic_length; 0: never
    int64_t dynamic_length = 0;
    double theta = 0;
};

struct LayerConfig {
    int64_t window = 0;  // a token sees itself and window - 1 before it; 0: all
    int64_t rope = 0;    // index into ropes; -1: none
};

enum class QkNorm : uint8_t { kNone, kHead, kFull };
enum class Activation : uint8_t { kSilu, kGeluTanh };

struct ModelConfig {
    int64_t hidden_size = 0;        // C
    int64_t intermediate_size = 0;  // F
    int64_t num_layers = 0;
    int64_t num_heads = 0;     // H
    int64_t num_kv_heads = 0;  // K
    int64_t head_dim = 0;      // D
    int64_t vocab_size = 0;    // V
    double rms_norm_eps = 0;
    int64_t max_positions = 0;
    bool tie_word_embeddings = false;
    std::vector<RopeConfig> ropes;
    std::vector<LayerConfig> layers;  // [num_layers]
    bool qkv_bias = false;
    bool output_bias = false;  // of o_proj
    bool mlp_bias = false;
    bool fused_projections = false;  // one module qkv_proj, one gate_up_proj
    QkNorm qk_norm = QkNorm::kNone;
    bool pre_norms = true;    // before attention and MLP
    bool post_norms = false;  // on the outputs of attention and MLP
    double norm_offset = 0;   // added to norm weights; not 0: multiply before rounding (Gemma)
    Activation activation = Activation::kSilu;
    double embedding_scale = 1;
    double attention_scale = 0;    // on q·k
    double attention_softcap = 0;  // 0: off
    double logit_softcap = 0;      // 0: off
    int64_t num_labels = 0;  // not 0: a classifier, with the output layer score [num_labels, C]
};

struct TensorRef {
    std::string name;
    int64_t file = 0;  // index into TensorTable::files
    int64_t offset = 0;
    int64_t bytes = 0;
    std::string dtype;  // safetensors name: F32, BF16, ...
    std::vector<int64_t> shape;
};

struct TensorTable {
    std::vector<std::string> files;
    std::vector<TensorRef> tensors;
};

enum class LoraInit : uint8_t { kDefault, kRandom, kGaussian, kPissa, kOlora, kOrthogonal };

struct LoraTarget {
    std::string module;  // "model.layers.0.self_attn.q_proj", "lm_head", "model.embed_tokens"
    int64_t rank = 0;    // R
    double scaling = 0;  // s
};

struct TokenRowsSpec {
    std::string module;        // "model.embed_tokens" or "lm_head"
    std::vector<int32_t> ids;  // distinct
};

/// What an adapter adds to a model or puts in place of its tensors.
struct AdapterSpec {
    std::vector<LoraTarget> targets;
    double dropout = 0;
    LoraInit init = LoraInit::kDefault;
    int64_t init_iterations = 0;  // kPissa: of the randomized decomposition; 0: the full one
    bool dora = false;
    std::vector<std::string> biases;        // linear layers whose bias is trained
    std::vector<std::string> full_modules;  // trained in full
    std::vector<TokenRowsSpec> token_rows;
    bool tie_output = false;  // tied model: a trained embedding is the output layer's too
    uint64_t seed = 0;
};

struct SampleRequest {
    std::vector<int32_t> prompt_ids;
    std::vector<int32_t> prompt_offsets;  // [P + 1]
    std::vector<int32_t> prompt_keys;     // [P] identity in the random streams
    int64_t group_size = 1;               // G
    int64_t max_new_tokens = 0;
    bool do_sample = true;
    double temperature = 1;
    double top_p = 1;               // 1: off
    int64_t top_k = 0;              // 0: off
    double min_p = 0;               // 0: off
    double repetition_penalty = 1;  // 1: off
    std::vector<int32_t> stop_ids;
    std::vector<std::string> stop_strings;  // bytes that end a completion
    std::string token_bytes;                // of every id, with stop_strings only
    std::vector<int32_t> token_offsets;     // [V + 1] into token_bytes
    uint64_t seed = 0;
    uint64_t step = 0;
    int64_t max_rows = 0;
    int64_t context_length = 0;  // of length-dependent ropes; 0: longest prompt + max_new_tokens
    bool graph_capture = false;  // steps of few shapes, recorded where the device has graphs
    bool plain = false;          // without the CPU kernels, whose results are tested against this

    int64_t num_prompts() const { return static_cast<int64_t>(prompt_offsets.size()) - 1; }
    int64_t prompt_length(int64_t p) const { return prompt_offsets[p + 1] - prompt_offsets[p]; }
};

enum class Finish : uint8_t { kEos = 0, kLength = 1, kStop = 2 };

/// The tokens of one decode step, one for each row that was live.
struct StepTokens {
    std::vector<int32_t> prompts;  // [n] index of the prompt
    std::vector<int32_t> samples;  // [n] index in its group
    std::vector<int32_t> ids;      // [n]
};

/// All completions of one prompt.
struct Group {
    int64_t prompt = 0;
    std::vector<int32_t> ids;      // the stop id included
    std::vector<int32_t> offsets;  // [G + 1]
    std::vector<float> logprobs;   // beside ids
    std::vector<uint8_t> finish;   // [G] Finish
};

/// What a rollout tells while it runs, on the engine thread.
struct SampleEvents {
    std::function<void(Group)> on_group;        // as soon as all its completions have ended
    std::function<void(StepTokens)> on_tokens;  // after every step; may be empty
};

struct SampleStats {
    int64_t decode_steps = 0;
    int64_t tokens = 0;
    int64_t prefill_tokens = 0;
    double prefill_seconds = 0;
    double decode_seconds = 0;
};

/// Prompts and the completions that continue them.
struct Batch {
    std::vector<int32_t> prompt_ids;
    std::vector<int32_t> prompt_offsets;  // [P + 1]
    std::vector<int32_t> completion_ids;
    std::vector<int32_t> completion_offsets;  // [B + 1]
    std::vector<int32_t> prompt_of;           // [B], ascending
    std::vector<uint8_t> loss_mask;           // [tokens] 1: counts in the loss; empty: all do
    int64_t context_length = 0;               // of length-dependent ropes; 0: the longest sequence

    int64_t num_prompts() const { return static_cast<int64_t>(prompt_offsets.size()) - 1; }
    int64_t num_rows() const { return static_cast<int64_t>(prompt_of.size()); }
    int64_t num_tokens() const { return static_cast<int64_t>(completion_ids.size()); }
    int64_t prompt_length(int64_t p) const { return prompt_offsets[p + 1] - prompt_offsets[p]; }
    int64_t completion_length(int64_t b) const {
        return completion_offsets[b + 1] - completion_offsets[b];
    }
    bool counts(int64_t token) const { return loss_mask.empty() || loss_mask[token] != 0; }
};

/// Log-probabilities of tokens that do not count are ignored.
struct TrainBatch : Batch {
    std::vector<int32_t> slice_offsets;     // [S + 1] rows; empty: one slice of all rows
    std::vector<float> advantages;          // [B]
    std::vector<float> old_logprobs;        // [tokens]; empty: the current ones, detached
    std::vector<float> reference_logprobs;  // [tokens]; needed when beta > 0
    std::vector<float> sampling_logprobs;  // [tokens]; for the metric of their difference, or empty
};

enum class LossType : uint8_t { kGrpo, kBnpo, kDrGrpo, kDapo, kCispo, kSapo, kVespo, kLuspo };

constexpr double kOff = std::numeric_limits<double>::infinity();

/// How a batch goes through the model, whatever the loss.
struct PassOptions {
    double temperature = 1;  // divides the logits, as it did in sampling
    int64_t max_tokens_per_micro_batch = 0;
    bool gradient_checkpointing = false;
    uint64_t dropout_seed = 0;
};

/// The options of the loss, named after TRL's; formulas in grpo/loss.h.
struct LossOptions {
    LossType type = LossType::kDapo;
    bool sequence_level = false;  // importance sampling
    double beta = 0;
    double epsilon_low = 0.2;
    double epsilon_high = 0.2;
    double delta = kOff;
    bool bias_correction_kl = true;
    double sapo_temperature_pos = 1;
    double sapo_temperature_neg = 1.05;
    double vespo_k_pos = 2;
    double vespo_lambda_pos = 3;
    double vespo_k_neg = 3;
    double vespo_lambda_neg = 2;
    double off_policy_threshold = kOff;
    double top_entropy_quantile = 1;  // 1: every token
    double entropy_coef = 0;
    int64_t max_completion_length = 0;       // needed by dr_grpo
    double loss_tokens = 0;                  // 0: the tokens of this batch that count
    double gradient_accumulation_steps = 0;  // slices of the step; 0: those of this batch
    bool skip_idle_rows = true;              // rows whose gradient is exactly zero
    PassOptions pass;
};

/// TRL's metrics: means over the slices, NaN where nothing defines one.
struct LossResult {
    double loss = 0;
    double policy_loss = 0;
    double entropy = 0;
    double kl = 0;
    double clip_low = 0;
    double clip_high = 0;
    double clip_region = 0;
    double clip_low_min = 0;   // over completions
    double clip_high_max = 0;  // over completions
    double phi = 0;            // over completions
    double logp_difference_mean = 0;
    double logp_difference_max = 0;
    double active_entropy = 0;  // over the tokens of all slices that top_entropy_quantile leaves
    int64_t active_tokens = 0;
    int64_t tokens = 0;  // that count
    int64_t idle_rows = 0;
    int64_t micro_batches = 0;
};

enum class OptimizerKind : uint8_t { kAdamW, kAdamW8bit, kSgd, kSgdMomentum, kAdafactor, kMuon };

/// In the order of the enumerators.
inline const std::vector<std::string> kOptimizerNames{"adamw",        "adamw_8bit", "sgd",
                                                      "sgd_momentum", "adafactor",  "muon"};

struct OptimizerOptions {
    OptimizerKind kind = OptimizerKind::kAdamW;
    double learning_rate = 0;
    double lora_plus_ratio = 1;           // rate of B, magnitudes, biases, norms / learning_rate
    double lora_plus_embedding_rate = 0;  // of LoRA on the embedding; 0: learning_rate
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-8;
    double momentum = 0;   // kSgdMomentum, kMuon
    double dampening = 0;  // kSgdMomentum
    bool nesterov = false;
    int64_t newton_schulz_steps = 5;  // kMuon
    bool match_adamw = true;          // kMuon: steps about as long as AdamW's
    double weight_decay = 0;
    double max_grad_norm = 0;  // 0: no clipping
};

/// What the engine computes with, and the memory of its device; zeros for the host's.
struct EngineMemory {
    int64_t compute_bytes = 0;  // of a number in a pass
    int64_t free = 0;
    int64_t total = 0;
};

/// What operators amount to; op_counter.h.
struct OperatorCounts {
    int64_t operators = 0;                   // dispatched
    std::map<std::string, int64_t> kernels;  // name -> number of those that compute or copy
    int64_t flops = 0;                       // of matrix products
    int64_t peak_bytes = 0;                  // held at most; 0 on the meta device
};

struct StepResult {
    double grad_norm = 0;
    bool applied = false;  // false: the gradient was not finite and nothing changed
};

}  // namespace grpo
