#include "model/adapter.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "device.h"
#include "error.h"
#include "model/adapter_layout.h"
#include "model/base_model.h"

namespace grpo {

at::Tensor Lora::delta() const {
    const c10::NoGradGuard no_grad;
    const at::Tensor update = at::matmul(b, a);
    if (!initial_a.defined()) return update * scaling;
    return (update - at::matmul(initial_b, initial_a)) * scaling;
}

Adapter::Adapter(const AdapterSpec& spec, const BaseModel& base, Uninitialised)
    : parameters(adapter_layout(spec, base.modules()), at::promote_types(base.dtype(), at::kFloat),
                 base.device()),
      spec_(spec) {
    for (const BaseNorm& norm : base.norms)
        norms_.push_back(trained(weight_name(norm.module.name), base.dtype()));
    connect_embedding(base);
    connect_linears(base);
}

Adapter::Adapter(const AdapterSpec& spec, const BaseModel& base)
    : Adapter(spec, base, Uninitialised{}) {
    const c10::NoGradGuard no_grad;
    initialise(base);
}

std::unique_ptr<Adapter> Adapter::copy(const BaseModel& base) const {
    const c10::NoGradGuard no_grad;
    std::unique_ptr<Adapter> copy(new Adapter(spec_, base, Uninitialised{}));
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

AdapterSpec Adapter::whole_model(const BaseModel& base) {
    AdapterSpec spec;
    for (const NamedTensor& tensor : base.named_tensors())
        spec.tensors.push_back({tensor.name, tensor.shape});
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
    Lora lora;
    lora.a = parameters.find(module + a);
    if (!lora.a.defined()) return std::nullopt;
    lora.b = parameters.find(module + b);
    const auto pair = std::find_if(spec_.pairs.begin(), spec_.pairs.end(),
                                   [&](const LoraPair& pair) { return pair.module == module; });
    require(lora.b.defined() && lora.b.size(1) == lora.a.size(0) && pair != spec_.pairs.end(),
            "the pair of " + module + " must have a scaling, and A and B of one rank");
    lora.scaling = pair->scaling;
    lora.magnitude = parameters.find(module + ".lora_magnitude_vector");
    if (lora.magnitude.defined()) lora.weight_norm = at::empty_like(lora.magnitude).detach();
    return lora;
}

std::optional<TokenRows> Adapter::token_rows(const std::string& module, const BaseModel& base) {
    for (const TokenRowsSpec& rows : spec_.token_rows) {
        if (rows.module != module) continue;
        const auto count = static_cast<int64_t>(rows.ids.size());
        const int64_t vocabulary = base.modules().embedding.rows;
        std::vector<int64_t> places(vocabulary, count);
        for (int64_t i = 0; i < count; ++i) {
            const int32_t id = rows.ids[i];
            require(id >= 0 && id < vocabulary && places[id] == count,
                    "the token rows of " + module + " must be distinct ids of the vocabulary");
            places[id] = i;
        }
        return TokenRows{
            .rows = trained(module + ".trainable_tokens_delta", base.dtype()),
            .ids = to_device(std::vector<int64_t>(rows.ids.begin(), rows.ids.end()), base.device()),
            .places = to_device(places, base.device())};
    }
    return std::nullopt;
}

void Adapter::connect_embedding(const BaseModel& base) {
    const std::string& module = base.modules().embedding.name;
    embedding_.weight = trained(weight_name(module), base.dtype());
    embedding_.lora = lora(module, ".lora_embedding_A", ".lora_embedding_B");
    embedding_.rows = token_rows(module, base);
}

void Adapter::connect_linears(const BaseModel& base) {
    const auto parts_of = [&](const std::vector<LinearPart>& parts, const char* suffix) {
        TrainedParts found;
        std::vector<at::Tensor> leaves;
        for (const LinearPart& part : parts) leaves.push_back(parameters.find(part.name + suffix));
        const bool whole =
            parts.size() == 1 || (leaves[0].defined() && leaves[0].is_same(leaves[1]));
        if (whole) {
            found.whole = trained(parts[0].name + suffix, base.dtype());
        } else {
            for (const LinearPart& part : parts)
                found.parts.push_back(trained(part.name + suffix, base.dtype()));
        }
        return found;
    };
    for (const BaseLinear& linear : base.linears) {
        const std::vector<LinearPart>& parts = linear.module.parts;
        LinearAdapter entry{.weight = parts_of(parts, ".weight"),
                            .bias = parts_of(parts, ".bias"),
                            .loras = {},
                            .rows = {}};
        for (const LinearPart& part : parts)
            entry.loras.push_back(lora(part.name, ".lora_A.weight", ".lora_B.weight"));
        if (&linear == &base.output()) {
            entry.rows = token_rows(parts[0].name, base);
            if (base.tied() && !entry.rows) entry.rows = embedding_.rows;
            if (base.tied() && spec_.tie_output) entry.weight.whole = embedding_.weight;
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

void Adapter::refresh(const BaseModel& base) {
    const c10::NoGradGuard no_grad;
    narrow_trained();
    const auto renew = [](std::optional<Lora>& lora, const auto& weight) {
        if (!lora || !lora->magnitude.defined()) return;
        lora->weight_norm.copy_(
            at::linalg_vector_norm(weight().to(lora->a.scalar_type()) + lora->delta(), 2, {1}));
    };
    renew(embedding_.lora, [&] { return base.embedding->dense().t(); });
    for (const BaseLinear& linear : base.linears) {
        auto& loras = linears_[linear.module.index].loras;
        for (size_t part = 0; part < loras.size(); ++part)
            renew(loras[part], [&] { return linear.part_weight(part)->dense(); });
    }
}

void Adapter::share_with(BaseModel& base) const {
    base.embedding = dense_weight(embedding_.weight.stored());
    for (BaseNorm& norm : base.norms) norm.weight = norms_[norm.module.index].stored();
    for (BaseLinear& linear : base.linears) {
        const LinearAdapter& trained = linears_[linear.module.index];
        linear.weight = base.tied() && &linear == &base.output()
                            ? base.embedding
                            : dense_weight(trained.weight.whole.stored());
        if (linear.bias.defined()) linear.bias = trained.bias.whole.stored();
    }
}

}  // namespace grpo
