// What a model is made of, as plain structs that cross the boundary: its numbers, where its tensors
// lie, what an adapter adds. No tensors, no JavaScript. The dimension letters are those of batch.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fields.h"
#include "module_table.h"

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

    static void fields(auto& self, auto& field) {
        field("invFreq", self.inv_freq);
        field("scaling", self.scaling);
        field("switchLength", self.switch_length);
        field("longInvFreq", self.long_inv_freq);
        field("longScaling", self.long_scaling);
        field("dynamicFactor", self.dynamic_factor);
        field("dynamicLength", self.dynamic_length);
        field("theta", self.theta);
    }
};

struct LayerConfig {
    int64_t window = 0;  // a token sees itself and window - 1 before it; 0: all
    int64_t rope = 0;    // index into ropes; -1: none

    static void fields(auto& self, auto& field) {
        field("window", self.window);
        field("rope", self.rope);
    }
};

enum class Activation : uint8_t { kSilu, kGeluTanh };
template <>
inline constexpr auto kNames<Activation> = std::to_array<Named<Activation>>(
    {{"silu", Activation::kSilu}, {"gelu_tanh", Activation::kGeluTanh}});

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
    ModuleTable modules;
    double norm_offset = 0;  // added to norm weights; not 0: multiply before rounding (Gemma)
    Activation activation = Activation::kSilu;
    double embedding_scale = 1;
    double attention_scale = 0;    // on q·k
    double attention_softcap = 0;  // 0: off
    double logit_softcap = 0;      // 0: off
    int64_t num_labels = 0;  // not 0: a classifier, with the output layer score [num_labels, C]

    static void fields(auto& self, auto& field) {
        field("hiddenSize", self.hidden_size);
        field("intermediateSize", self.intermediate_size);
        field("numLayers", self.num_layers);
        field("numHeads", self.num_heads);
        field("numKvHeads", self.num_kv_heads);
        field("headDim", self.head_dim);
        field("vocabSize", self.vocab_size);
        field("rmsNormEps", self.rms_norm_eps);
        field("maxPositions", self.max_positions);
        field("tieWordEmbeddings", self.tie_word_embeddings);
        field("ropes", self.ropes);
        field("layers", self.layers);
        field("modules", self.modules);
        field("normOffset", self.norm_offset);
        field("activation", self.activation);
        field("embeddingScale", self.embedding_scale);
        field("attentionScale", self.attention_scale);
        field("attentionSoftcap", self.attention_softcap);
        field("logitSoftcap", self.logit_softcap);
        field("numLabels", self.num_labels);
    }
};

struct TensorRef {
    std::string name;
    int64_t file = 0;  // index into TensorTable::files
    int64_t offset = 0;
    int64_t bytes = 0;
    std::string dtype;  // safetensors name: F32, BF16, ...
    std::vector<int64_t> shape;

    static void fields(auto& self, auto& field) {
        field("name", self.name);
        field("file", self.file);
        field("offset", self.offset);
        field("bytes", self.bytes);
        field("dtype", self.dtype);
        field("shape", self.shape);
    }
};

struct TensorTable {
    std::vector<std::string> files;
    std::vector<TensorRef> tensors;

    static void fields(auto& self, auto& field) {
        field("files", self.files);
        field("tensors", self.tensors);
    }
};

enum class LoraInit : uint8_t { kDefault, kRandom, kGaussian, kPissa, kOlora, kOrthogonal };
template <>
inline constexpr auto kNames<LoraInit> =
    std::to_array<Named<LoraInit>>({{"default", LoraInit::kDefault},
                                    {"random", LoraInit::kRandom},
                                    {"gaussian", LoraInit::kGaussian},
                                    {"pissa", LoraInit::kPissa},
                                    {"olora", LoraInit::kOlora},
                                    {"orthogonal", LoraInit::kOrthogonal}});

struct NamedShape {
    std::string name;
    std::vector<int64_t> shape;

    static void fields(auto& self, auto& field) {
        field("name", self.name);
        field("shape", self.shape);
    }
};

/// y += s · dropout(x) Aᵀ Bᵀ on that module.
struct LoraPair {
    std::string module;  // "model.layers.0.self_attn.q_proj", "lm_head", "model.embed_tokens"
    double scaling = 0;  // s

    static void fields(auto& self, auto& field) {
        field("module", self.module);
        field("scaling", self.scaling);
    }
};

struct TokenRowsSpec {
    std::string module;        // "model.embed_tokens" or "lm_head"
    std::vector<int32_t> ids;  // distinct

    static void fields(auto& self, auto& field) {
        field("module", self.module);
        field("ids", self.ids);
    }
};

/// What an adapter adds to a model or puts in place of its tensors.
struct AdapterSpec {
    std::vector<NamedShape> tensors;  // all that it has
    std::vector<LoraPair> pairs;
    double dropout = 0;
    LoraInit init = LoraInit::kDefault;
    int64_t init_iterations = 0;  // kPissa: of the randomized decomposition; 0: the full one
    std::vector<TokenRowsSpec> token_rows;
    bool tie_output = false;  // tied model: a trained embedding is the output layer's too
    uint64_t seed = 0;

    static void fields(auto& self, auto& field) {
        field("tensors", self.tensors);
        field("pairs", self.pairs);
        field("dropout", self.dropout);
        field("init", self.init);
        field("initIterations", self.init_iterations);
        field("tokenRows", self.token_rows);
        field("tieOutput", self.tie_output);
        field("seed", self.seed);
    }
};

}  // namespace grpo
