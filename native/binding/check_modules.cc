// Whether the table of modules and the numbers of a model agree; kernels and reshapes rely on it.
#include <set>
#include <string>

#include "binding/checks.h"
#include "error.h"

namespace grpo {
namespace {

std::string names_of(const LinearModule& linear) {
    std::string names;
    for (const LinearPart& part : linear.parts) names += (names.empty() ? "" : ", ") + part.name;
    return names;
}

void check_size(const std::string& module, const char* what, int64_t found, int64_t expected) {
    require(found == expected, "module " + module + ": expected " + what + " of " +
                                   std::to_string(expected) + ", found " + std::to_string(found));
}

void check_linear(const LinearModule& linear, int64_t in, int64_t out) {
    require(!linear.parts.empty(), "every linear layer must have a part");
    check_size(names_of(linear), "an input", linear.in, in);
    check_size(names_of(linear), "outputs", linear.out(), out);
}

void check_norm(const std::optional<NormModule>& norm, int64_t size) {
    if (norm) check_size(norm->name, "a size", norm->size, size);
}

/// Over each head, or over all together.
void check_head_norm(const std::optional<NormModule>& norm, int64_t head_dim, int64_t heads) {
    if (norm && norm->size != head_dim) check_norm(norm, heads * head_dim);
}

void check_layer(const LayerModules& layer, const ModelConfig& c) {
    const auto& [attention, feed_forward] = layer;
    const int64_t queries = c.num_heads * c.head_dim, keys = c.num_kv_heads * c.head_dim;
    for (const auto* norm :
         {&attention.before, &attention.after, &feed_forward.before, &feed_forward.after})
        check_norm(*norm, c.hidden_size);
    check_head_norm(attention.q_norm, c.head_dim, c.num_heads);
    check_head_norm(attention.k_norm, c.head_dim, c.num_kv_heads);
    require(attention.q_norm.has_value() == attention.k_norm.has_value(),
            "module " + names_of(attention.qkv) + ": queries and keys must both have a norm");
    check_linear(attention.qkv, c.hidden_size, queries + 2 * keys);
    check_linear(attention.output, queries, c.hidden_size);
    check_linear(feed_forward.gate_up, c.hidden_size, 2 * c.intermediate_size);
    check_linear(feed_forward.down, c.intermediate_size, c.hidden_size);
}

}  // namespace

void check_modules(const ModelConfig& config) {
    const ModuleTable& modules = config.modules;
    check_size(modules.embedding.name, "rows", modules.embedding.rows, config.vocab_size);
    check_size(modules.embedding.name, "a size", modules.embedding.size, config.hidden_size);
    require(static_cast<int64_t>(modules.layers.size()) == config.num_layers,
            "modules must have numLayers layers");
    for (const LayerModules& layer : modules.layers) check_layer(layer, config);
    check_norm(modules.norm, config.hidden_size);
    require(modules.output.parts.size() == 1, "the output layer must be of one part");
    check_linear(modules.output, config.hidden_size,
                 config.num_labels > 0 ? config.num_labels : config.vocab_size);

    std::set<std::string> names{modules.embedding.name};
    const auto add = [&](const std::string& name) {
        require(names.insert(name).second, "module " + name + " is there twice");
    };
    for (const NormModule* norm : modules.norms()) add(norm->name);
    for (const LinearModule* linear : modules.linears()) {
        for (const LinearPart& part : linear->parts) add(part.name);
    }
}

}  // namespace grpo
