#include "model/adapter.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <set>

#include "device.h"
#include "error.h"
#include "model/decoder.h"

namespace grpo {
namespace {

/// The parameters that a spec asks for, as leaves, in the order of the model.
class Layout {
  public:
    Layout(const AdapterSpec& spec, const Decoder& decoder) : spec_(spec), decoder_(decoder) {}

    std::vector<Parameters::Spec> make() {
        add_embedding();
        for (const Norm* norm : decoder_.norms()) {
            if (full(norm->module)) add({{norm->name(), norm->weight.sizes().vec()}}, kVector);
        }
        for (const Linear* linear : decoder_.linears()) {
            add_pairs(*linear);
            if (is_shared_output(*linear)) continue;
            add_parts(*linear, ".weight", {linear->weight->out(), linear->in()},
                      [&](const LinearPart& part) { return full(part.module); });
            if (linear->bias.defined())
                add_parts(*linear, ".bias", {linear->weight->out()}, [&](const LinearPart& part) {
                    return full(part.module) || named(spec_.biases, part.module);
                });
        }
        for (const auto& [name, found] : wanted_) {
            require(found, "the adapter names " + name + ", which is no module that can carry it");
        }
        return std::move(specs_);
    }

  private:
    static constexpr ParameterGroup kMatrix = ParameterGroup::kMatrix,
                                    kVector = ParameterGroup::kVector;

    void add(std::vector<Parameters::Named> tensors, ParameterGroup group) {
        specs_.push_back({std::move(tensors), group});
    }

    void add_embedding() {
        note_wanted();
        const std::string module = Decoder::kEmbedding;
        const int64_t vocabulary = decoder_.config().vocab_size,
                      hidden = decoder_.config().hidden_size;
        if (full(module)) add({{module + ".weight", {vocabulary, hidden}}}, kMatrix);
        if (const LoraTarget* found = target(module)) {
            constexpr auto kGroup = ParameterGroup::kEmbedding;
            add({{module + ".lora_embedding_A", {found->rank, vocabulary}}}, kGroup);
            add({{module + ".lora_embedding_B", {hidden, found->rank}}}, kGroup);
            add_magnitude(module, hidden);
        }
        for (const TokenRowsSpec& rows : spec_.token_rows) {
            require(rows.module == Decoder::kEmbedding || rows.module == Decoder::kOutput,
                    "token rows belong to the embedding or to the output layer");
            wanted_[rows.module] = true;
            const auto count = static_cast<int64_t>(rows.ids.size());
            add({{rows.module + ".trainable_tokens_delta", {count, hidden}}}, kMatrix);
        }
    }

    void add_pairs(const Linear& linear) {
        for (const LinearPart& part : linear.parts()) {
            const LoraTarget* found = target(part.module);
            if (found == nullptr) continue;
            require(found->rank > 0, "the rank of " + part.module + " must be positive");
            add({{part.module + ".lora_A.weight", {found->rank, linear.in()}}}, kMatrix);
            add({{part.module + ".lora_B.weight", {part.out, found->rank}}},
                ParameterGroup::kLoraB);
            add_magnitude(part.module, part.out);
        }
    }

    void add_magnitude(const std::string& module, int64_t out) {
        if (spec_.dora) add({{module + ".lora_magnitude_vector", {out}}}, ParameterGroup::kLoraB);
    }

    /// One leaf for all parts that are trained if those are all there are, else one for each.
    template <typename F>
    void add_parts(const Linear& linear, const char* suffix, std::vector<int64_t> shape, F trains) {
        std::vector<Parameters::Named> tensors;
        for (const LinearPart& part : linear.parts()) {
            if (!trains(part)) continue;
            shape[0] = part.out;
            tensors.push_back({part.module + suffix, shape});
        }
        const ParameterGroup group = shape.size() == 1 ? kVector : kMatrix;
        if (tensors.size() == linear.parts().size()) return add(std::move(tensors), group);
        for (Parameters::Named& tensor : tensors) add({std::move(tensor)}, group);
    }

    bool is_shared_output(const Linear& linear) const {
        return spec_.tie_output && decoder_.tied() && &linear == &decoder_.output();
    }

    void note_wanted() {
        for (const LoraTarget& found : spec_.targets) wanted_[found.module] = false;
        for (const std::string& module : spec_.full_modules) wanted_[module] = false;
        for (const std::string& module : spec_.biases) wanted_[module] = false;
    }

    bool full(const std::string& module) { return named(spec_.full_modules, module); }

    bool named(const std::vector<std::string>& modules, const std::string& module) {
        const bool found = std::find(modules.begin(), modules.end(), module) != modules.end();
        if (found) wanted_[module] = true;
        return found;
    }

    const LoraTarget* target(const std::string& module) {
        for (const LoraTarget& found : spec_.targets) {
            if (found.module != module) continue;
            wanted_[module] = true;
            return &found;
        }
        return nullptr;
    }

    const AdapterSpec& spec_;
    const Decoder& decoder_;
    std::map<std::string, bool> wanted_;
    std::vector<Parameters::Spec> specs_;
};

}  // namespace

at::Tensor Lora::delta() const {
    const c10::NoGradGuard no_grad;
    const at::Tensor update = at::matmul(b, a);
    if (!initial_a.defined()) return update * scaling;
    return (update - at::matmul(initial_b, initial_a)) * scaling;
}

Adapter::Adapter(const AdapterSpec& spec, const Decoder& decoder, Uninitialised)
    : parameters(Layout(spec, decoder).make(),
                 at::promote_types(decoder.weight_dtype(), at::kFloat), decoder.device()),
      spec_(spec) {
    for (const Norm* norm : decoder.norms()) {
        norms_.push_back(trained(norm->name(), decoder.weight_dtype()));
    }
    connect_embedding(decoder);
    connect_linears(decoder);
}

Adapter::Adapter(const AdapterSpec& spec, const Decoder& decoder)
    : Adapter(spec, decoder, Uninitialised{}) {
    const c10::NoGradGuard no_grad;
    initialise(decoder);
}

std::unique_ptr<Adapter> Adapter::copy(const Decoder& decoder) const {
    const c10::NoGradGuard no_grad;
    std::unique_ptr<Adapter> copy(new Adapter(spec_, decoder, Uninitialised{}));
    copy->parameters.values.copy_(parameters.values);
    for (size_t i = 0; i < linears_.size(); ++i) {
        for (size_t part = 0; part < linears_[i].loras.size(); ++part) {
            if (!linears_[i].loras[part]) continue;
            Lora& lora = *copy->linears_[i].loras[part];
            const Lora& own = *linears_[i].loras[part];
            lora.initial_a = own.initial_a;
            lora.initial_b = own.initial_b;
            if (own.weight_norm.defined()) lora.weight_norm.copy_(own.weight_norm);
        }
    }
    if (embedding_.lora && embedding_.lora->weight_norm.defined())
        copy->embedding_.lora->weight_norm.copy_(embedding_.lora->weight_norm);
    copy->narrow_trained();
    return copy;
}

AdapterSpec Adapter::whole_model(const Decoder& decoder) {
    AdapterSpec spec;
    spec.full_modules.emplace_back(Decoder::kEmbedding);
    for (const Norm* norm : decoder.norms()) spec.full_modules.push_back(norm->module);
    for (const Linear* linear : decoder.linears()) {
        if (decoder.tied() && linear == &decoder.output()) continue;
        for (const LinearPart& part : linear->parts()) spec.full_modules.push_back(part.module);
    }
    spec.tie_output = true;
    return spec;
}

Trained Adapter::trained(const std::string& name, at::ScalarType model_dtype) {
    const at::Tensor leaf = parameters.find(name);
    if (!leaf.defined()) return {};
    Trained found{.master = leaf, .narrow = {}};
    if (leaf.scalar_type() != model_dtype) {
        found.narrow = at::empty_like(leaf, leaf.options().dtype(model_dtype)).detach();
    }
    trained_.push_back(found);
    return found;
}

std::optional<Lora> Adapter::lora(const std::string& module, const char* a, const char* b) {
    for (const LoraTarget& target : spec_.targets) {
        if (target.module != module) continue;
        Lora lora;
        lora.a = parameters.find(module + a);
        lora.b = parameters.find(module + b);
        lora.scaling = target.scaling;
        lora.magnitude = parameters.find(module + ".lora_magnitude_vector");
        if (lora.magnitude.defined()) lora.weight_norm = at::empty_like(lora.magnitude).detach();
        return lora;
    }
    return std::nullopt;
}

std::optional<TokenRows> Adapter::token_rows(const std::string& module, const Decoder& decoder) {
    for (const TokenRowsSpec& rows : spec_.token_rows) {
        if (rows.module != module) continue;
        const auto count = static_cast<int64_t>(rows.ids.size());
        std::vector<int64_t> places(decoder.config().vocab_size, count);
        for (int64_t i = 0; i < count; ++i) {
            const int32_t id = rows.ids[i];
            require(id >= 0 && id < decoder.config().vocab_size && places[id] == count,
                    "the token rows of " + module + " must be distinct ids of the vocabulary");
            places[id] = i;
        }
        return TokenRows{
            .rows = trained(module + ".trainable_tokens_delta", decoder.weight_dtype()),
            .ids =
                to_device(std::vector<int64_t>(rows.ids.begin(), rows.ids.end()), decoder.device()),
            .places = to_device(places, decoder.device())};
    }
    return std::nullopt;
}

void Adapter::connect_embedding(const Decoder& decoder) {
    const std::string module = Decoder::kEmbedding;
    embedding_.weight = trained(module + ".weight", decoder.weight_dtype());
    embedding_.lora = lora(module, ".lora_embedding_A", ".lora_embedding_B");
    embedding_.rows = token_rows(module, decoder);
}

void Adapter::connect_linears(const Decoder& decoder) {
    const auto parts_of = [&](const Linear& linear, const char* suffix) {
        TrainedParts found;
        const auto& parts = linear.parts();
        std::vector<at::Tensor> leaves;
        for (const LinearPart& part : parts)
            leaves.push_back(parameters.find(part.module + suffix));
        const bool whole =
            parts.size() == 1 || (leaves[0].defined() && leaves[0].is_same(leaves[1]));
        if (whole) {
            found.whole = trained(parts[0].module + suffix, decoder.weight_dtype());
        } else {
            for (const LinearPart& part : parts)
                found.parts.push_back(trained(part.module + suffix, decoder.weight_dtype()));
        }
        return found;
    };
    for (const Linear* linear : decoder.linears()) {
        LinearAdapter entry{.weight = parts_of(*linear, ".weight"),
                            .bias = parts_of(*linear, ".bias"),
                            .loras = {},
                            .rows = {}};
        for (const LinearPart& part : linear->parts())
            entry.loras.push_back(lora(part.module, ".lora_A.weight", ".lora_B.weight"));
        if (linear == &decoder.output()) {
            entry.rows = token_rows(Decoder::kOutput, decoder);
            if (decoder.tied() && !entry.rows) entry.rows = embedding_.rows;
            if (decoder.tied() && spec_.tie_output) entry.weight.whole = embedding_.weight;
        }
        const auto any = [](const TrainedParts& trained) {
            return trained.whole.defined() ||
                   std::any_of(trained.parts.begin(), trained.parts.end(),
                               [](const Trained& part) { return part.defined(); });
        };
        entry.empty = !any(entry.weight) && !any(entry.bias) && !entry.rows &&
                      std::none_of(entry.loras.begin(), entry.loras.end(),
                                   [](const auto& lora) { return lora.has_value(); });
        linears_.push_back(std::move(entry));
    }
}

void Adapter::narrow_trained() {
    for (const Trained& trained : trained_) {
        if (trained.narrow.defined()) trained.narrow.copy_(trained.master);
    }
}

void Adapter::refresh(const Decoder& decoder) {
    const c10::NoGradGuard no_grad;
    narrow_trained();
    const auto renew = [](std::optional<Lora>& lora, const at::Tensor& weight) {
        if (!lora || !lora->magnitude.defined()) return;
        lora->weight_norm.copy_(
            at::linalg_vector_norm(weight.to(lora->a.scalar_type()) + lora->delta(), 2, {1}));
    };
    renew(embedding_.lora, decoder.embedding()->dense().t());
    for (const Linear* linear : decoder.linears()) {
        for (size_t part = 0; part < linear->parts().size(); ++part)
            renew(linears_[linear->index].loras[part], linear->part_weight(part)->dense());
    }
}

}  // namespace grpo
