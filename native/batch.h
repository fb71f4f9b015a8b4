// What is sampled, scored and trained on, and what comes of it, as plain structs that cross the
// boundary: no tensors, no JavaScript (what a model is made of: model_spec.h). Ragged lists are one
// flat vector with an offsets vector beside it ([n + 1] entries, offsets[0] = 0). What a struct
// holds is said once, in its `fields`; see fields.h. The options of the loss are in grpo/loss.h,
// those of the optimizers in optim/optimizer.h.
//
// Dimension letters, here and in every shape comment:
//   N tokens of one pass (no padding)   B rows (completions)   P prompts   G completions a prompt
//   C hidden   F mlp   H heads   K kv heads   D head dim   V vocabulary   T time   R adapter rank
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fields.h"

namespace grpo {

/// Bytes that need not be text: a Uint8Array in JavaScript.
struct ByteString : std::string {
    using std::string::string;
};

/// How the tokens of a completion are drawn, and what ends it.
struct Drawing {
    int64_t max_new_tokens = 0;
    bool do_sample = true;
    double temperature = 1;
    double top_p = 1;               // 1: off
    int64_t top_k = 0;              // 0: off
    double min_p = 0;               // 0: off
    double repetition_penalty = 1;  // 1: off
    std::vector<int32_t> stop_ids;
    // What may be drawn at all; rollout/token_rules.h.
    int64_t min_new_tokens = 0;                  // no stop id among so many first tokens
    int64_t no_repeat_ngram_size = 0;            // 0: off
    std::vector<int32_t> bad_word_ids;           // sequences that may not occur in a completion
    std::vector<int32_t> bad_word_offsets;       // [n + 1]
    std::vector<int32_t> suppress_tokens;        // never
    std::vector<int32_t> begin_suppress_tokens;  // not as the first
    std::vector<int32_t> forced_eos_tokens;      // nothing else as the last of max_new_tokens
    std::vector<ByteString> stop_strings;        // they end a completion; each not empty
    ByteString token_bytes;                      // of every id, with stop_strings only
    std::vector<int32_t> token_offsets;          // [V + 1] into token_bytes
    bool constrained = false;  // every draw waits to be told what is allowed: StreamInbox
    uint64_t seed = 0;
    uint64_t step = 0;

    static void fields(auto& self, auto& field) {
        field("maxNewTokens", self.max_new_tokens);
        field("doSample", self.do_sample);
        field("temperature", self.temperature);
        field("topP", self.top_p);
        field("topK", self.top_k);
        field("minP", self.min_p);
        field("repetitionPenalty", self.repetition_penalty);
        field("stopIds", self.stop_ids);
        field.optional("minNewTokens", self.min_new_tokens);
        field.optional("noRepeatNgramSize", self.no_repeat_ngram_size);
        field.optional("badWordIds", self.bad_word_ids);
        field.optional("badWordOffsets", self.bad_word_offsets);
        field.optional("suppressTokens", self.suppress_tokens);
        field.optional("beginSuppressTokens", self.begin_suppress_tokens);
        field.optional("forcedEosTokens", self.forced_eos_tokens);
        field.optional("stopStrings", self.stop_strings);
        field.optional("tokenBytes", self.token_bytes);
        field.optional("tokenOffsets", self.token_offsets);
        field.optional("constrained", self.constrained);
        field("seed", self.seed);
        field("step", self.step);
    }
};

/// Prompts that are sampled together.
struct SampleRequest : Drawing {
    std::vector<int32_t> prompt_ids;
    std::vector<int32_t> prompt_offsets;  // [P + 1]
    std::vector<int32_t> prompt_keys;     // [P] identity in the random streams
    int64_t group_size = 1;               // G
    int64_t max_rows = 0;
    int64_t context_length = 0;  // of length-dependent ropes; 0: longest prompt + max_new_tokens
    bool graph_capture = false;  // steps of few shapes, recorded where the device has graphs
    bool plain = false;          // without the CPU kernels, whose results are tested against this

    static void fields(auto& self, auto& field) {
        Drawing::fields(self, field);
        field("promptIds", self.prompt_ids);
        field("promptOffsets", self.prompt_offsets);
        field("promptKeys", self.prompt_keys);
        field("groupSize", self.group_size);
        field("maxRows", self.max_rows);
        field.optional("contextLength", self.context_length);
        field.optional("graphCapture", self.graph_capture);
        field.optional("plain", self.plain);
    }

    int64_t num_prompts() const { return static_cast<int64_t>(prompt_offsets.size()) - 1; }
    int64_t prompt_length(int64_t p) const { return prompt_offsets[p + 1] - prompt_offsets[p]; }
    std::span<const int32_t> prompt(int64_t p) const {
        return std::span(prompt_ids).subspan(prompt_offsets[p], prompt_length(p));
    }
};

/// A prompt that enters a running batch.
struct StreamRequest : Drawing {
    int64_t ticket = 0;  // what events call it; no other request has it
    int64_t owner = 0;   // owners share the batch fairly
    std::vector<int32_t> prompt_ids;
    int64_t prompt_key = 0;    // identity in the random streams
    int64_t group_size = 1;    // G
    int64_t top_logprobs = 0;  // so many of the likeliest tokens beside each drawn one

    static void fields(auto& self, auto& field) {
        Drawing::fields(self, field);
        field("ticket", self.ticket);
        field("owner", self.owner);
        field("promptIds", self.prompt_ids);
        field("promptKey", self.prompt_key);
        field("groupSize", self.group_size);
        field("topLogprobs", self.top_logprobs);
    }
};

/// How a running batch is run.
struct StreamOptions {
    int64_t max_rows = 0;
    int64_t part_tokens = 0;     // of prompts that are computed between two decode steps
    int64_t cache_bytes = 0;     // of what is remembered of sequences that have ended
    int64_t context_length = 0;  // of length-dependent ropes

    static void fields(auto& self, auto& field) {
        field("maxRows", self.max_rows);
        field("partTokens", self.part_tokens);
        field("cacheBytes", self.cache_bytes);
        field("contextLength", self.context_length);
    }
};

enum class Finish : uint8_t { kEos = 0, kLength = 1, kStop = 2 };
constexpr uint8_t kGoesOn = 255;  // where there is no Finish

/// The tokens of one decode step, one for each row that was live.
struct StepTokens {
    std::vector<int32_t> prompts;  // [n] index of the prompt, or ticket
    std::vector<int32_t> samples;  // [n] index in its group
    std::vector<int32_t> ids;      // [n]
    std::vector<float> logprobs;   // [n]
    std::vector<uint8_t> finish;   // [n] Finish, or kGoesOn
    // The likeliest tokens beside each, where they were asked for, likeliest first.
    std::vector<int32_t> top_offsets;  // [n + 1]
    std::vector<int32_t> top_ids;
    std::vector<float> top_logprobs;

    static void fields(auto& self, auto& field) {
        field("prompts", self.prompts);
        field("samples", self.samples);
        field("ids", self.ids);
        field("logprobs", self.logprobs);
        field("finish", self.finish);
        field("topOffsets", self.top_offsets);
        field("topIds", self.top_ids);
        field("topLogprobs", self.top_logprobs);
    }
};

/// A prompt begins to be computed.
struct PromptOpened {
    int64_t prompt = 0;  // as of StepTokens
    int64_t known = 0;   // first tokens that an earlier sequence has computed

    static void fields(auto& self, auto& field) {
        field("prompt", self.prompt);
        field("known", self.known);
    }
};

/// All completions of one prompt.
struct Group {
    int64_t prompt = 0;
    std::vector<int32_t> ids;      // the stop id included
    std::vector<int32_t> offsets;  // [G + 1]
    std::vector<float> logprobs;   // beside ids
    std::vector<uint8_t> finish;   // [G] Finish

    static void fields(auto& self, auto& field) {
        field("prompt", self.prompt);
        field("ids", self.ids);
        field("offsets", self.offsets);
        field("logprobs", self.logprobs);
        field("finish", self.finish);
    }
};

/// What a rollout tells while it runs, on the engine thread; any may be empty.
struct SampleEvents {
    std::function<void(Group)> on_group;          // as soon as all its completions have ended
    std::function<void(StepTokens)> on_tokens;    // after every step
    std::function<void(PromptOpened)> on_opened;  // before its first token
};

struct SampleStats {
    int64_t decode_steps = 0;
    int64_t tokens = 0;
    int64_t prefill_tokens = 0;  // that were computed
    int64_t known_tokens = 0;    // of prompts, that were known
    double prefill_seconds = 0;
    double decode_seconds = 0;

    static void fields(auto& self, auto& field) {
        field("decodeSteps", self.decode_steps);
        field("tokens", self.tokens);
        field("prefillTokens", self.prefill_tokens);
        field("knownTokens", self.known_tokens);
        field("prefillSeconds", self.prefill_seconds);
        field("decodeSeconds", self.decode_seconds);
    }
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

    static void fields(auto& self, auto& field) {
        field("promptIds", self.prompt_ids);
        field("promptOffsets", self.prompt_offsets);
        field("completionIds", self.completion_ids);
        field("completionOffsets", self.completion_offsets);
        field("promptOf", self.prompt_of);
        field.optional("contextLength", self.context_length);
    }

    int64_t num_prompts() const { return static_cast<int64_t>(prompt_offsets.size()) - 1; }
    int64_t num_rows() const { return static_cast<int64_t>(prompt_of.size()); }
    int64_t num_tokens() const { return static_cast<int64_t>(completion_ids.size()); }
    int64_t prompt_length(int64_t p) const { return prompt_offsets[p + 1] - prompt_offsets[p]; }
    int64_t completion_length(int64_t b) const {
        return completion_offsets[b + 1] - completion_offsets[b];
    }
    bool counts(int64_t token) const { return loss_mask.empty() || loss_mask[token] != 0; }
};

/// Numbers of tokens that do not count are ignored.
struct TrainBatch : Batch {
    std::vector<int32_t> slice_offsets;     // [S + 1] rows; empty: one slice of all rows
    std::vector<float> advantages;          // [B]
    std::vector<float> token_advantages;    // [tokens]; empty: those of the completions
    std::vector<float> old_logprobs;        // [tokens]; empty: the current ones, detached
    std::vector<float> reference_logprobs;  // [tokens]; needed when beta > 0
    std::vector<float> sampling_logprobs;   // [tokens] of whoever drew them, or empty
    std::vector<float> importance_ratios;   // [tokens] on the policy term; empty: 1

    static void fields(auto& self, auto& field) {
        Batch::fields(self, field);
        field("advantages", self.advantages);
        field.optional("tokenAdvantages", self.token_advantages);
        field.optional("oldLogprobs", self.old_logprobs);
        field.optional("referenceLogprobs", self.reference_logprobs);
        field.optional("samplingLogprobs", self.sampling_logprobs);
        field.optional("importanceRatios", self.importance_ratios);
        field.optional("lossMask", self.loss_mask);
        field.optional("sliceOffsets", self.slice_offsets);
    }
};

/// What a model is to say, and which of it counts.
struct SftBatch : Batch {
    static void fields(auto& self, auto& field) {
        Batch::fields(self, field);
        field.optional("lossMask", self.loss_mask);
    }
};

/// How a batch goes through the model, whatever the loss.
struct PassOptions {
    double temperature = 1;  // divides the logits, as it did in sampling
    int64_t max_tokens_per_micro_batch = 0;
    bool gradient_checkpointing = false;
    uint64_t dropout_seed = 0;

    static void fields(auto& self, auto& field) {
        field("temperature", self.temperature);
        field("maxTokensPerMicroBatch", self.max_tokens_per_micro_batch);
        field("gradientCheckpointing", self.gradient_checkpointing);
        field("dropoutSeed", self.dropout_seed);
    }
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

    static void fields(auto& self, auto& field) {
        field("loss", self.loss);
        field("policyLoss", self.policy_loss);
        field("entropy", self.entropy);
        field("kl", self.kl);
        field("clipLow", self.clip_low);
        field("clipHigh", self.clip_high);
        field("clipRegion", self.clip_region);
        field("clipLowMin", self.clip_low_min);
        field("clipHighMax", self.clip_high_max);
        field("phi", self.phi);
        field("logpDifferenceMean", self.logp_difference_mean);
        field("logpDifferenceMax", self.logp_difference_max);
        field("activeEntropy", self.active_entropy);
        field("activeTokens", self.active_tokens);
        field("tokens", self.tokens);
        field("idleRows", self.idle_rows);
        field("microBatches", self.micro_batches);
    }
};

/// What the engine computes with, and the memory of its device; zeros for the host's.
struct EngineMemory {
    int64_t compute_bytes = 0;  // of a number in a pass
    int64_t kept_bytes = 0;     // of one that is kept for the backward, or in a cache
    // Of the device; all 0 where it has the host's memory.
    int64_t free = 0;
    int64_t reserved = 0;  // that this process has, in use or kept for what comes
    int64_t total = 0;

    static void fields(auto& self, auto& field) {
        field("computeBytes", self.compute_bytes);
        field("keptBytes", self.kept_bytes);
        field("free", self.free);
        field("reserved", self.reserved);
        field("total", self.total);
    }
};

/// What operators amount to; op_counter.h.
struct OperatorCounts {
    int64_t operators = 0;                   // dispatched
    std::map<std::string, int64_t> kernels;  // name -> number of those that compute or copy
    int64_t flops = 0;                       // of matrix products
    int64_t peak_bytes = 0;                  // held at most; 0 on the meta device

    static void fields(auto& self, auto& field) {
        field("operators", self.operators);
        field("kernels", self.kernels);
        field("flops", self.flops);
        field("peakBytes", self.peak_bytes);
    }
};

struct StepResult {
    double grad_norm = 0;
    bool applied = false;  // false: the gradient was not finite and nothing changed

    static void fields(auto& self, auto& field) {
        field("gradNorm", self.grad_norm);
        field("applied", self.applied);
    }
};

}  // namespace grpo
