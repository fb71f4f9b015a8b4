#include "model/adapter_layout.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "error.h"

namespace grpo {
namespace {

/// A size that is the adapter's own choice: its rank.
constexpr int64_t kAny = -1;

using Shape = std::vector<int64_t>;

std::string text_of(const Shape& shape) {
    std::string text;
    for (const int64_t size : shape)
        text += (text.empty() ? "" : ", ") + (size == kAny ? "rank" : std::to_string(size));
    return "[" + text + "]";
}

class Layout {
  public:
    Layout(const AdapterSpec& spec, const ModuleTable& modules) : modules_(modules), spec_(spec) {
        for (const NamedShape& tensor : spec.tensors) left_[tensor.name] = tensor.shape;
    }

    std::vector<Parameters::Spec> make() {
        hidden_ = false;
        add_embedding();
        add_token_rows();
        hidden_ = true;
        for (const NormModule* norm : modules_.norms())
            add(weight_name(norm->name), {norm->size}, kVector);
        for (const LinearModule* linear : modules_.linears()) {
            hidden_ = linear != &modules_.output;
            for (const LinearPart& part : linear->parts) add_pair(part, linear->in);
            add_parts(*linear, weight_name, {0, linear->in}, kMatrix);
            if (linear->bias) add_parts(*linear, bias_name, {0}, kVector);
        }
        if (!left_.empty()) {
            throw EngineError("BAD_INPUT", "the adapter has the tensor " + left_.begin()->first +
                                               ", which no module of the model can carry");
        }
        return std::move(specs_);
    }

  private:
    static constexpr ParameterGroup kMatrix = ParameterGroup::kMatrix,
                                    kVector = ParameterGroup::kVector,
                                    kLoraB = ParameterGroup::kLoraB,
                                    kEmbedding = ParameterGroup::kEmbedding;

    void add_embedding() {
        const auto& [name, rows, size] = modules_.embedding;
        add(weight_name(name), {rows, size}, kMatrix);
        add(name + ".lora_embedding_A", {kAny, rows}, kEmbedding);
        add(name + ".lora_embedding_B", {size, kAny}, kEmbedding);
        add(name + ".lora_magnitude_vector", {size}, kLoraB);
    }

    void add_token_rows() {
        const std::string &embedding = modules_.embedding.name,
                          &output = modules_.output.parts[0].name;
        for (const TokenRowsSpec& rows : spec_.token_rows) {
            require(rows.module == embedding || rows.module == output,
                    "rows of tokens belong to " + embedding + " or to " + output + ", not to " +
                        rows.module);
            const auto count = static_cast<int64_t>(rows.ids.size());
            add(rows.module + ".trainable_tokens_delta", {count, modules_.embedding.size}, kMatrix);
        }
    }

    void add_pair(const LinearPart& part, int64_t in) {
        add(part.name + ".lora_A.weight", {kAny, in}, kMatrix);
        add(part.name + ".lora_B.weight", {part.out, kAny}, kLoraB);
        add(part.name + ".lora_magnitude_vector", {part.out}, kLoraB);
    }

    /// One leaf for all parts that are trained if those are all there are, else one for each.
    void add_parts(const LinearModule& linear, std::string (*name_of)(const std::string&),
                   Shape shape, ParameterGroup group) {
        std::vector<Parameters::Named> tensors;
        for (const LinearPart& part : linear.parts) {
            shape[0] = part.out;
            if (take(name_of(part.name), shape)) tensors.push_back({name_of(part.name), shape});
        }
        if (tensors.size() == linear.parts.size()) {
            specs_.push_back({std::move(tensors), group, hidden_});
        } else {
            for (Parameters::Named& tensor : tensors)
                specs_.push_back({{std::move(tensor)}, group, hidden_});
        }
    }

    void add(const std::string& name, const Shape& expected, ParameterGroup group) {
        if (const auto shape = take(name, expected))
            specs_.push_back({{{name, *shape}}, group, hidden_});
    }

    /// The shape of that tensor, where the adapter has it.
    std::optional<Shape> take(const std::string& name, const Shape& expected) {
        const auto found = left_.find(name);
        if (found == left_.end()) return std::nullopt;
        const Shape shape = found->second;
        const bool fits = std::equal(shape.begin(), shape.end(), expected.begin(), expected.end(),
                                     [](int64_t size, int64_t wanted) {
                                         return wanted == kAny ? size > 0 : size == wanted;
                                     });
        require(fits, "the adapter's tensor " + name + " must have the shape " + text_of(expected) +
                          ", found " + text_of(shape));
        left_.erase(found);
        return shape;
    }

    const ModuleTable& modules_;
    const AdapterSpec& spec_;
    std::map<std::string, Shape> left_;
    std::vector<Parameters::Spec> specs_;
    bool hidden_ = true;  // of what is added
};

}  // namespace

std::vector<Parameters::Spec> adapter_layout(const AdapterSpec& spec, const ModuleTable& modules) {
    return Layout(spec, modules).make();
}

}  // namespace grpo
