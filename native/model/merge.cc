#include "model/merge.h"

#include <ATen/Functions.h>

namespace grpo {
namespace {

at::Tensor with_update(const at::Tensor& weight, const Lora& lora, const at::Tensor& delta,
                       const at::Tensor& factor, bool safe) {
    const at::ScalarType dtype = weight.scalar_type();
    if (lora.magnitude.defined()) return (factor * (weight + delta)).to(dtype);
    return (weight + (safe ? delta.to(dtype) : delta)).to(dtype);
}

at::Tensor factor_of(const Lora& lora) {
    return lora.magnitude.defined() ? (lora.magnitude / lora.weight_norm).detach() : at::Tensor();
}

at::Tensor with_rows(const at::Tensor& weight, const TokenRows& rows) {
    return at::index_copy(weight, 0, rows.ids, rows.rows.stored());
}

bool same(const Trained& a, const Trained& b) { return a.master.is_same(b.master); }

bool same(const std::optional<TokenRows>& a, const std::optional<TokenRows>& b) {
    return a && b && same(a->rows, b->rows);
}

class Steps {
  public:
    Steps(const Adapter& adapter, bool safe) : adapter_(adapter), safe_(safe) {}

    void add(const std::string& name, std::function<at::Tensor(const at::Tensor&)> step) {
        steps_.emplace_back(name, std::move(step));
    }

    void add_trained(const std::string& name, const Trained& trained) {
        if (trained.defined()) add(name, [trained](const at::Tensor&) { return trained.stored(); });
    }

    void add_embedding(const EmbeddingModule& module) {
        const std::string name = weight_name(module.name);
        const EmbeddingAdapter& own = adapter_.embedding();
        add_trained(name, own.weight);
        if (own.lora) {
            add(name, [lora = *own.lora](const at::Tensor& weight) {
                const at::Tensor factor = factor_of(lora);
                // PEFT rounds the update of an embedding whether safe or not.
                return with_update(weight, lora, lora.delta().t(), factor, /*safe=*/true);
            });
        }
        if (own.rows) {
            add(name, [rows = *own.rows](const at::Tensor& w) { return with_rows(w, rows); });
        }
    }

    void add_linear(const LinearModule& linear) {
        const LinearAdapter* own = adapter_.linear(linear.index);
        if (own == nullptr) return;
        for (size_t i = 0; i < linear.parts.size(); ++i) {
            const auto& [name, out] = linear.parts[i];
            add_part(weight_name(name), own->weight, i, linear.start(i), out);
            add_part(bias_name(name), own->bias, i, linear.start(i), out);
            if (own->loras[i]) add_pair(weight_name(name), *own->loras[i]);
        }
        if (own->rows) {
            add(weight_name(linear.parts[0].name),
                [rows = *own->rows](const at::Tensor& w) { return with_rows(w, rows); });
        }
    }

    MergeSteps take() { return std::move(steps_); }

  private:
    void add_part(const std::string& name, const TrainedParts& trained, size_t part, int64_t start,
                  int64_t rows) {
        if (!trained.parts.empty()) add_trained(name, trained.parts[part]);
        if (!trained.whole.defined()) return;
        add(name, [whole = trained.whole, start, rows](const at::Tensor&) {
            return whole.stored().narrow(0, start, rows);
        });
    }

    void add_pair(const std::string& name, const Lora& lora) {
        add(name, [lora, safe = safe_](const at::Tensor& weight) {
            at::Tensor factor = factor_of(lora);
            if (factor.defined()) factor = factor.unsqueeze(1);
            return with_update(weight, lora, lora.delta(), factor, safe);
        });
    }

    const Adapter& adapter_;
    bool safe_;
    MergeSteps steps_;
};

}  // namespace

MergeSteps merge_steps(const Adapter& adapter, const BaseModel& base, bool safe) {
    const ModuleTable& modules = base.modules();
    Steps steps(adapter, safe);
    steps.add_embedding(modules.embedding);
    for (const NormModule* norm : modules.norms())
        steps.add_trained(weight_name(norm->name), adapter.norm(norm->index));
    const bool shared_output = base.tied() && !merging_unties(adapter, base);
    for (const LinearModule* linear : modules.linears()) {
        if (!shared_output || linear != &modules.output) steps.add_linear(*linear);
    }
    return steps.take();
}

bool merging_unties(const Adapter& adapter, const BaseModel& base) {
    if (!base.tied()) return false;
    const EmbeddingAdapter& embedding = adapter.embedding();
    const LinearAdapter* output = adapter.linear(base.modules().output.index);
    if (output == nullptr) return embedding.weight.defined() || embedding.lora || embedding.rows;
    const bool same_weight = same(embedding.weight, output->weight.whole);
    const bool same_rows = (!embedding.rows && !output->rows) || same(embedding.rows, output->rows);
    return !same_weight || !same_rows || embedding.lora || output->loras[0];
}

}  // namespace grpo
