#include "model/module_table.h"

namespace grpo {
namespace {

/// The modules of one layer, under the names of the Llama family.
class LayerMaker {
  public:
    LayerMaker(const ModelConfig& config, int64_t index)
        : c_(config),
          layer_("model.layers." + std::to_string(index) + "."),
          attention_(layer_ + "self_attn."),
          mlp_(layer_ + "mlp.") {}

    LayerModules make() const {
        // Where outputs are normed too, the norm before the MLP has a name of its own.
        const std::string before_mlp =
            c_.post_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm";
        const int64_t hidden = c_.hidden_size, queries = c_.num_heads * c_.head_dim;
        return {
            .attention = {.norms = {norm(c_.pre_norms, "input_layernorm"),
                                    norm(c_.post_norms, "post_attention_layernorm")},
                          .qkv = qkv(),
                          .q_norm = head_norm("q_norm", c_.num_heads),
                          .k_norm = head_norm("k_norm", c_.num_kv_heads),
                          .output = {{{attention_ + "o_proj", hidden}}, queries, c_.output_bias}},
            .feed_forward = {.norms = {norm(c_.pre_norms, before_mlp),
                                       norm(c_.post_norms, "post_feedforward_layernorm")},
                             .gate_up = gate_up(),
                             .down = {{{mlp_ + "down_proj", hidden}},
                                      c_.intermediate_size,
                                      c_.mlp_bias}},
        };
    }

  private:
    NormModule norm(bool exists, const std::string& name) const {
        return exists ? NormModule{layer_ + name, c_.hidden_size} : NormModule{};
    }

    NormModule head_norm(const char* name, int64_t heads) const {
        if (c_.qk_norm == QkNorm::kNone) return {};
        return {attention_ + name, c_.qk_norm == QkNorm::kFull ? heads * c_.head_dim : c_.head_dim};
    }

    LinearModule qkv() const {
        const int64_t q = c_.num_heads * c_.head_dim, kv = c_.num_kv_heads * c_.head_dim;
        if (c_.fused_projections)
            return {{{attention_ + "qkv_proj", q + 2 * kv}}, c_.hidden_size, c_.qkv_bias};
        return {
            {{attention_ + "q_proj", q}, {attention_ + "k_proj", kv}, {attention_ + "v_proj", kv}},
            c_.hidden_size,
            c_.qkv_bias};
    }

    LinearModule gate_up() const {
        const int64_t size = c_.intermediate_size;
        if (c_.fused_projections)
            return {{{mlp_ + "gate_up_proj", 2 * size}}, c_.hidden_size, c_.mlp_bias};
        return {
            {{mlp_ + "gate_proj", size}, {mlp_ + "up_proj", size}}, c_.hidden_size, c_.mlp_bias};
    }

    const ModelConfig& c_;
    std::string layer_, attention_, mlp_;
};

template <typename Table, typename F>
void each_norm(Table& table, const F& visit) {
    const auto visit_existing = [&](auto& norm) {
        if (norm.exists()) visit(norm);
    };
    for (auto& [attention, feed_forward] : table.layers) {
        visit_existing(attention.norms.before);
        visit_existing(attention.norms.after);
        visit_existing(feed_forward.norms.before);
        visit_existing(feed_forward.norms.after);
        visit_existing(attention.q_norm);
        visit_existing(attention.k_norm);
    }
    visit_existing(table.norm);
}

template <typename Table, typename F>
void each_linear(Table& table, const F& visit) {
    for (auto& [attention, feed_forward] : table.layers) {
        visit(attention.qkv);
        visit(attention.output);
        visit(feed_forward.gate_up);
        visit(feed_forward.down);
    }
    visit(table.output);
}

}  // namespace

int64_t LinearModule::out() const { return start(parts.size()); }

int64_t LinearModule::start(size_t part) const {
    int64_t rows = 0;
    for (size_t i = 0; i < part; ++i) rows += parts[i].out;
    return rows;
}

void ModuleTable::number() {
    int64_t norms = 0, linears = 0;
    each_norm(*this, [&](NormModule& norm) { norm.index = norms++; });
    each_linear(*this, [&](LinearModule& linear) { linear.index = linears++; });
}

std::vector<const NormModule*> ModuleTable::norms() const {
    std::vector<const NormModule*> norms;
    each_norm(*this, [&](const NormModule& norm) { norms.push_back(&norm); });
    return norms;
}

std::vector<const LinearModule*> ModuleTable::linears() const {
    std::vector<const LinearModule*> linears;
    each_linear(*this, [&](const LinearModule& linear) { linears.push_back(&linear); });
    return linears;
}

ModuleTable make_module_table(const ModelConfig& config) {
    ModuleTable table;
    table.embedding = {"model.embed_tokens", config.vocab_size, config.hidden_size};
    for (int64_t i = 0; i < config.num_layers; ++i)
        table.layers.push_back(LayerMaker(config, i).make());
    table.norm = {"model.norm", config.hidden_size};
    const bool classifies = config.num_labels > 0;
    table.output = {
        {{classifies ? "score" : "lm_head", classifies ? config.num_labels : config.vocab_size}},
        config.hidden_size,
        false};
    return table;
}

}  // namespace grpo
