// An adapter: everything trainable that a decoder can be given beside its own tensors. LoRA pairs
// (Hu et al. 2021) with or without a magnitude (DoRA; Liu et al. 2024) on linear layers and on the
// embedding, trained biases, whole modules, and single rows of the embedding or output layer. A
// model that is trained in full is the adapter that has every module: the base's own tensors are
// then free to be the reference.
//
// The model's modules have numbers (module_table.h); the tables here go by them, so a pass looks
// nothing up by name. What a pass computes from these tables is in linear.cc, norm.cc and
// decoder.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/trained.h"
#include "model_spec.h"
#include "optim/parameters.h"

namespace grpo {

class BaseModel;
class Weight;

/// y += s · dropout(x) Aᵀ Bᵀ. On the embedding A is [R, V], B is [C, R], and x a token's one-hot.
struct Lora {
    at::Tensor a;  // [R, in]
    at::Tensor b;  // [out, R]
    double scaling = 1;
    // PiSSA and OLoRA take the pair's beginning out of the base (Meng et al. 2024). It is
    // subtracted beside the base's product, which keeps the base as it was: a fresh adapter then
    // changes nothing, bit for bit.
    at::Tensor initial_a, initial_b;
    // DoRA: m / ‖W + sBA‖ scales every row of the updated weight. The norm is a constant to the
    // gradient, and changes only when the pair does.
    at::Tensor magnitude;    // [out] m
    at::Tensor weight_norm;  // [out]

    /// s (BA - B₀A₀) in fp32, without gradient: [out, in].
    at::Tensor delta() const;
};

/// Rows of the embedding, or of the output layer's weight, that are trained by themselves.
struct TokenRows {
    Trained rows;       // [n, C]
    at::Tensor ids;     // [n] int64
    at::Tensor places;  // [V] int64: index into rows, n where the token is not among them
};

/// What is trained in full of a matrix, or of a bias, that several parts share.
struct TrainedParts {
    Trained whole;               // all parts, as one leaf
    std::vector<Trained> parts;  // or single ones
};

struct LinearAdapter {
    TrainedParts weight;                     // [sum of out, in] or [out, in]
    TrainedParts bias;                       // [sum of out] or [out]
    std::vector<std::optional<Lora>> loras;  // [parts]
    std::optional<TokenRows> rows;           // of the output layer
    bool empty = true;
};

struct EmbeddingAdapter {
    Trained weight;  // [V, C]
    std::optional<Lora> lora;
    std::optional<TokenRows> rows;
};

class Adapter {
  public:
    /// The tensors of `spec`, initialised. Throws BAD_INPUT for a module that is not there.
    Adapter(const AdapterSpec& spec, const BaseModel& base);
    Adapter(const Adapter&) = delete;
    Adapter& operator=(const Adapter&) = delete;
    /// The same values, and no gradient yet.
    std::unique_ptr<Adapter> copy(const BaseModel& base) const;
    /// All modules of the model in full.
    static AdapterSpec whole_model(const BaseModel& base);

    /// To be called whenever values have changed: brings narrow copies and norms up to date.
    void refresh(const BaseModel& base);
    /// Trains the whole model: its tensors become the base's, too, which is then one copy in
    /// memory.
    void share_with(BaseModel& base) const;

    /// nullptr: nothing there.
    const LinearAdapter* linear(int64_t index) const {
        return linears_[index].empty ? nullptr : &linears_[index];
    }
    const Trained& norm(int64_t index) const { return norms_[index]; }
    const EmbeddingAdapter& embedding() const { return embedding_; }
    double dropout() const { return spec_.dropout; }

    Parameters parameters;

  private:
    struct Uninitialised {};
    Adapter(const AdapterSpec& spec, const BaseModel& base, Uninitialised);
    void narrow_trained();
    void connect_linears(const BaseModel& base);
    void connect_embedding(const BaseModel& base);
    void initialise(const BaseModel& base);
    void initialise_pair(Lora& lora, const std::string& module, const Weight& weight);
    Trained trained(const std::string& name, at::ScalarType model_dtype);
    std::optional<TokenRows> token_rows(const std::string& module, const BaseModel& base);
    std::optional<Lora> lora(const std::string& module, const char* a, const char* b);

    AdapterSpec spec_;
    std::vector<LinearAdapter> linears_;
    std::vector<Trained> norms_;
    EmbeddingAdapter embedding_;
    std::vector<Trained> trained_;  // each once, for refresh()
};

}  // namespace grpo
