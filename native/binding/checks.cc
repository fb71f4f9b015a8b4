#include "binding/checks.h"

#include <algorithm>
#include <string>
#include <vector>

#include "error.h"

namespace grpo {
namespace {

void check_offsets(const std::vector<int32_t>& offsets, size_t total, const char* name) {
    const bool valid = !offsets.empty() && offsets.front() == 0 &&
                       std::is_sorted(offsets.begin(), offsets.end()) &&
                       static_cast<size_t>(offsets.back()) == total;
    require(valid, std::string(name) + " must start at 0, ascend, and end at the number of ids");
}

}  // namespace

void check(const ModelConfig& config) {
    require(config.num_labels >= 0, "numLabels must not be negative");
    for (const int64_t size :
         {config.hidden_size, config.intermediate_size, config.num_layers, config.num_heads,
          config.num_kv_heads, config.head_dim, config.vocab_size, config.max_positions}) {
        require(size > 0, "every size of the model must be positive");
    }
    require(config.num_heads % config.num_kv_heads == 0,
            "numHeads must be a multiple of numKvHeads");
    for (const RopeConfig& rope : config.ropes) {
        const auto rotary = static_cast<int64_t>(rope.inv_freq.size()) * 2;
        require(rotary > 0 && rotary <= config.head_dim,
                "invFreq must have at most headDim / 2 elements");
        require(rope.switch_length == 0 || rope.long_inv_freq.size() == rope.inv_freq.size(),
                "longInvFreq must have as many elements as invFreq");
    }
    require(static_cast<int64_t>(config.layers.size()) == config.num_layers,
            "layers must have numLayers elements");
    for (const LayerConfig& layer : config.layers) {
        require(layer.window >= 0, "window must not be negative");
        require(layer.rope >= -1 && layer.rope < static_cast<int64_t>(config.ropes.size()),
                "rope must be an index into ropes, or -1");
    }
    check_modules(config);
}

void check(const AdapterSpec& spec) {
    require(spec.dropout >= 0 && spec.dropout < 1, "dropout must be at least 0 and below 1");
}

void check(const Drawing& drawing) {
    require(drawing.temperature > 0, "temperature must be positive");
    require(drawing.repetition_penalty > 0, "repetitionPenalty must be positive");
    if (const std::vector<int32_t>& words = drawing.bad_word_offsets; !words.empty()) {
        require(std::adjacent_find(words.begin(), words.end()) == words.end(),
                "a bad word must not be empty");
        check_offsets(words, drawing.bad_word_ids.size(), "badWordOffsets");
    }
    if (drawing.stop_strings.empty()) return;
    for (const ByteString& stop : drawing.stop_strings)
        require(!stop.empty(), "a stop string must not be empty");
    check_offsets(drawing.token_offsets, drawing.token_bytes.size(), "tokenOffsets");
}

void check(const SampleRequest& request) {
    check_offsets(request.prompt_offsets, request.prompt_ids.size(), "promptOffsets");
    check(static_cast<const Drawing&>(request));
}

void check(const StreamRequest& request) { check(static_cast<const Drawing&>(request)); }

void check(const Batch& batch) {
    check_offsets(batch.prompt_offsets, batch.prompt_ids.size(), "promptOffsets");
    check_offsets(batch.completion_offsets, batch.completion_ids.size(), "completionOffsets");
}

void check(const TrainBatch& batch) { check(static_cast<const Batch&>(batch)); }

void check(const LossOptions& options) {
    require(options.pass.temperature > 0, "temperature must be positive");
    require(options.loss_type != LossType::kDrGrpo || options.max_completion_length > 0,
            "dr_grpo needs maxCompletionLength");
    require(options.top_entropy_quantile >= 0 && options.top_entropy_quantile <= 1,
            "topEntropyQuantile must be between 0 and 1");
}

}  // namespace grpo
