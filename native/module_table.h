// The modules of a model: their names in the checkpoint, the parts that one product serves, the
// shapes of their tensors. TypeScript makes it (lib/model/families/module-table.ts); layers are
// built by it, and adapters, loading, merging and errors go by it, so that a family which names or
// cuts its modules otherwise is another table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fields.h"

namespace grpo {

struct NormModule {
    std::string name;  // "model.norm"
    int64_t size = 0;
    int64_t index = -1;  // among all, once numbered

    static void fields(auto& self, auto& field) {
        field("name", self.name);
        field("size", self.size);
    }
};

/// A module of the checkpoint, whose tensors are a part of a layer's: weight [out, in], bias [out].
struct LinearPart {
    std::string name;  // "model.layers.0.self_attn.q_proj"
    int64_t out = 0;

    static void fields(auto& self, auto& field) {
        field("name", self.name);
        field("out", self.out);
    }
};

/// y [sum of out] = W x [in] + b. Its parts read the same input, so that one product serves them.
struct LinearModule {
    std::vector<LinearPart> parts;
    int64_t in = 0;
    bool bias = false;
    int64_t index = -1;  // among all, once numbered

    int64_t out() const;
    /// Rows of W before those of a part.
    int64_t start(size_t part) const;

    static void fields(auto& self, auto& field) {
        field("parts", self.parts);
        field("in", self.in);
        field("bias", self.bias);
    }
};

struct EmbeddingModule {
    std::string name;
    int64_t rows = 0;  // V
    int64_t size = 0;  // C

    static void fields(auto& self, auto& field) {
        field("name", self.name);
        field("rows", self.rows);
        field("size", self.size);
    }
};

/// Those norms that the family has: of what a branch of the layer reads and of what it gives,
/// and of queries and keys.
struct AttentionModules {
    std::optional<NormModule> before, after;
    LinearModule qkv;                          // q, k and v, in one part or in three
    std::optional<NormModule> q_norm, k_norm;  // over each head, or over all together
    LinearModule output;

    static void fields(auto& self, auto& field) {
        field("before", self.before);
        field("after", self.after);
        field("qkv", self.qkv);
        field("qNorm", self.q_norm);
        field("kNorm", self.k_norm);
        field("output", self.output);
    }
};

struct FeedForwardModules {
    std::optional<NormModule> before, after;
    LinearModule gate_up;  // in one part or in two
    LinearModule down;

    static void fields(auto& self, auto& field) {
        field("before", self.before);
        field("after", self.after);
        field("gateUp", self.gate_up);
        field("down", self.down);
    }
};

struct LayerModules {
    AttentionModules attention;
    FeedForwardModules feed_forward;

    static void fields(auto& self, auto& field) {
        field("attention", self.attention);
        field("feedForward", self.feed_forward);
    }
};

struct ModuleTable {
    EmbeddingModule embedding;
    std::vector<LayerModules> layers;
    NormModule norm;      // after the last layer
    LinearModule output;  // lm_head, or score of a classifier; of one part

    /// Numbers them in the order of the model; adapters go by these numbers.
    void number();
    /// In the same order.
    std::vector<const NormModule*> norms() const;
    std::vector<const LinearModule*> linears() const;

    static void fields(auto& self, auto& field) {
        field("embedding", self.embedding);
        field("layers", self.layers);
        field("norm", self.norm);
        field("output", self.output);
    }
};

/// The name of a module's tensor.
inline std::string weight_name(const std::string& module) { return module + ".weight"; }
inline std::string bias_name(const std::string& module) { return module + ".bias"; }

}  // namespace grpo
