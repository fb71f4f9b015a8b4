#include "model/adapter_layout.h"

#include <algorithm>
#include <map>

#include "error.h"

namespace grpo {
namespace {

/// The parameters that a spec asks for, as leaves, in the order of the model.
class Layout {
  public:
    Layout(const AdapterSpec& spec, const ModuleTable& modules, bool tied)
        : spec_(spec), modules_(modules), tied_(tied) {}

    std::vector<Parameters::Spec> make() {
        add_embedding();
        for (const NormModule* norm : modules_.norms()) {
            if (full(norm->name)) add({{weight_name(norm->name), {norm->size}}}, kVector);
        }
        for (const LinearModule* linear : modules_.linears()) {
            add_pairs(*linear);
            if (is_shared_output(*linear)) continue;
            add_parts(*linear, ".weight", {0, linear->in},
                      [&](const LinearPart& part) { return full(part.name); });
            if (!linear->bias) continue;
            add_parts(*linear, ".bias", {0}, [&](const LinearPart& part) {
                return full(part.name) || named(spec_.biases, part.name);
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
        const auto& [module, vocabulary, hidden] = modules_.embedding;
        if (full(module)) add({{module + ".weight", {vocabulary, hidden}}}, kMatrix);
        if (const LoraTarget* found = target(module)) {
            constexpr auto kGroup = ParameterGroup::kEmbedding;
            add({{module + ".lora_embedding_A", {found->rank, vocabulary}}}, kGroup);
            add({{module + ".lora_embedding_B", {hidden, found->rank}}}, kGroup);
            add_magnitude(module, hidden);
        }
        for (const TokenRowsSpec& rows : spec_.token_rows) {
            require(rows.module == module || rows.module == modules_.output.parts[0].name,
                    "token rows belong to the embedding or to the output layer");
            wanted_[rows.module] = true;
            const auto count = static_cast<int64_t>(rows.ids.size());
            add({{rows.module + ".trainable_tokens_delta", {count, hidden}}}, kMatrix);
        }
    }

    void add_pairs(const LinearModule& linear) {
        for (const LinearPart& part : linear.parts) {
            const LoraTarget* found = target(part.name);
            if (found == nullptr) continue;
            require(found->rank > 0, "the rank of " + part.name + " must be positive");
            add({{part.name + ".lora_A.weight", {found->rank, linear.in}}}, kMatrix);
            add({{part.name + ".lora_B.weight", {part.out, found->rank}}}, ParameterGroup::kLoraB);
            add_magnitude(part.name, part.out);
        }
    }

    void add_magnitude(const std::string& module, int64_t out) {
        if (spec_.dora) add({{module + ".lora_magnitude_vector", {out}}}, ParameterGroup::kLoraB);
    }

    /// One leaf for all parts that are trained if those are all there are, else one for each. Their
    /// shapes differ in the first size.
    template <typename F>
    void add_parts(const LinearModule& linear, const char* suffix, std::vector<int64_t> shape,
                   F trains) {
        std::vector<Parameters::Named> tensors;
        for (const LinearPart& part : linear.parts) {
            if (!trains(part)) continue;
            shape[0] = part.out;
            tensors.push_back({part.name + suffix, shape});
        }
        const ParameterGroup group = shape.size() == 1 ? kVector : kMatrix;
        if (tensors.size() == linear.parts.size()) return add(std::move(tensors), group);
        for (Parameters::Named& tensor : tensors) add({std::move(tensor)}, group);
    }

    bool is_shared_output(const LinearModule& linear) const {
        return spec_.tie_output && tied_ && &linear == &modules_.output;
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
    const ModuleTable& modules_;
    bool tied_;
    std::map<std::string, bool> wanted_;
    std::vector<Parameters::Spec> specs_;
};

}  // namespace

std::vector<Parameters::Spec> adapter_layout(const AdapterSpec& spec, const ModuleTable& modules,
                                             bool tied) {
    return Layout(spec, modules, tied).make();
}

}  // namespace grpo
