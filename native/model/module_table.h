// The modules of a model: their names in the checkpoint, the parts that one product serves, the
// shapes of their tensors. Layers are built by it, and adapters, loading, merging and errors go by
// it, so that a family which names or cuts its modules otherwise is another table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "batch.h"

namespace grpo {

struct NormModule {
    std::string name;  // empty: the family has no such norm
    int64_t size = 0;
    int64_t index = -1;  // among all, once numbered

    bool exists() const { return !name.empty(); }
};

/// A module of the checkpoint, whose tensors are a part of a layer's: weight [out, in], bias [out].
struct LinearPart {
    std::string name;  // "model.layers.0.self_attn.q_proj"
    int64_t out = 0;
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
};

struct EmbeddingModule {
    std::string name;
    int64_t rows = 0;  // V
    int64_t size = 0;  // C
};

/// Of what a branch of a layer reads, and of what it gives.
struct BranchNorms {
    NormModule before, after;
};

struct AttentionModules {
    BranchNorms norms;
    LinearModule qkv;           // q, k and v, in one part or in three
    NormModule q_norm, k_norm;  // over each head, or over all together
    LinearModule output;
};

struct FeedForwardModules {
    BranchNorms norms;
    LinearModule gate_up;  // in one part or in two
    LinearModule down;
};

struct LayerModules {
    AttentionModules attention;
    FeedForwardModules feed_forward;
};

struct ModuleTable {
    EmbeddingModule embedding;
    std::vector<LayerModules> layers;
    NormModule norm;      // after the last layer
    LinearModule output;  // lm_head, or score of a classifier; of one part

    /// Numbers them in the order of the model; adapters go by these numbers.
    void number();
    /// Those that exist, in the same order.
    std::vector<const NormModule*> norms() const;
    std::vector<const LinearModule*> linears() const;
};

/// The name of a module's tensor.
inline std::string weight_name(const std::string& module) { return module + ".weight"; }
inline std::string bias_name(const std::string& module) { return module + ".bias"; }

ModuleTable make_module_table(const ModelConfig& config);

}  // namespace grpo
