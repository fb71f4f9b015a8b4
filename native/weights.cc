#include "weights.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "error.h"
#include "io/tensor_file.h"
#include "model/merge.h"
#include "model/random_fill.h"
#include "optim/optimizer.h"

namespace grpo {
namespace {

constexpr double kInitStd = 0.02;

/// A tensor of the model itself, which is stored in the model's dtype, and not of the adapter.
bool is_model_tensor(const std::string& name) {
    return name.find(".lora_") == std::string::npos && !name.ends_with(".trainable_tokens_delta");
}

std::map<std::string, NamedTensor> by_name(std::vector<NamedTensor> tensors) {
    std::map<std::string, NamedTensor> map;
    for (NamedTensor& tensor : tensors) {
        std::string name = tensor.name;
        map.emplace(std::move(name), std::move(tensor));
    }
    return map;
}

void overwrite(const NamedTensor& tensor, const at::Tensor& values) {
    const Write write = [&](const at::Tensor& rows, int64_t first) {
        rows.copy_(values.narrow(0, first, rows.size(0)));
    };
    tensor.change(write, Access::kOverwrite);
}

void require_finite(const at::Tensor& merged, const std::string& name) {
    if (merged.is_meta() || at::isfinite(merged).all().item<bool>()) return;
    throw EngineError("BAD_ADAPTER",
                      "merging the adapter gives " + name + " values that are not finite");
}

}  // namespace

void Weights::initialise(uint64_t seed) {
    ++version_;
    const c10::NoGradGuard no_grad;
    for (const NamedTensor& tensor : base().named_tensors()) {
        const Write fill = [&](const at::Tensor& values, int64_t first) {
            if (values.dim() == 2)
                return fill_normal(values, tensor.name, seed, kInitStd, first * values.size(1));
            const bool is_bias = tensor.name.ends_with(".bias");
            values.fill_(is_bias ? 0 : 1 - decoder.config().norm_offset);
        };
        tensor.change(fill, Access::kOverwrite);
    }
}

Adapter& Weights::find(const std::string& name) const {
    const auto found = adapters_.find(name);
    require(found != adapters_.end(), "there is no adapter named " + name);
    return *found->second;
}

void Weights::require_unmerged() const {
    if (!merged_) return;
    throw EngineError("BAD_INPUT", "adapters are merged into the weights",
                      "call unmergeAdapter first, or mergeAndUnload to keep them merged");
}

void Weights::add_adapter(const std::string& name, const AdapterSpec& spec) {
    ++version_;
    require_unmerged();
    require(!whole_, "the model is trained in full; adapters have no place beside that");
    require(!name.empty() && !adapters_.contains(name), "an adapter needs a name of its own");
    adapters_.emplace(name, std::make_unique<Adapter>(spec, base()));
    if (active_.empty()) active_ = name;
}

void Weights::delete_adapter(const std::string& name) {
    ++version_;
    require_unmerged();
    find(name);
    adapters_.erase(name);
    if (active_ == name) active_.clear();
}

void Weights::set_adapter(const std::string& name) {
    require_unmerged();
    if (!name.empty()) find(name);
    active_ = name;
}

void Weights::set_enabled(bool enabled) {
    require_unmerged();
    enabled_ = enabled;
}

void Weights::train_all() {
    ++version_;
    require(adapters_.empty() && !whole_,
            "full training needs a model without adapters that is not trained in full already");
    whole_ = std::make_unique<Adapter>(Adapter::whole_model(base()), base());
    whole_->share_with(base());
}

void Weights::make_reference() {
    const c10::NoGradGuard no_grad;
    require_unmerged();
    if (whole_) {
        whole_->share_with(base());
        base().unshare();
        own_reference_ = true;
    } else {
        require(!active_.empty(), "there is no active adapter to make a reference of");
        reference_ = find(active_).copy(base());
    }
}

void Weights::mix_reference(double alpha) {
    const c10::NoGradGuard no_grad;
    require(own_reference_, "only the reference of a model that is trained in full can be mixed");
    for (const NamedTensor& tensor : base().named_tensors()) {
        const Write mix = [&](const at::Tensor& values, int64_t first) {
            const at::Tensor policy =
                whole_->parameters.value(tensor.name).narrow(0, first, values.size(0));
            values.mul_(1 - alpha).add_(policy.to(values.scalar_type()), alpha);
        };
        tensor.change(mix, Access::kUpdate);
    }
}

void Weights::merge(const std::vector<std::string>& names, bool safe) {
    ++version_;
    const c10::NoGradGuard no_grad;
    require_unmerged();
    require(!whole_, "the model is trained in full; there is nothing to merge");
    for (const std::string& name : names) find(name);
    merged_ = true;
    tied_before_merge_ = base().tied();
    std::map<std::string, bool> kept;
    for (const std::string& name : names) {
        const Adapter& adapter = find(name);
        if (merging_unties(adapter, base())) base().set_tied(false);
        const std::map<std::string, NamedTensor> tensors = by_name(base().named_tensors());
        for (const auto& [tensor_name, step] : merge_steps(adapter, base(), safe)) {
            const NamedTensor& tensor = tensors.at(tensor_name);
            const at::Tensor result = step(tensor.read());
            try {
                if (safe) require_finite(result, tensor_name);
            } catch (...) {
                unmerge();
                throw;
            }
            if (!kept[tensor_name]) before_merge_.emplace_back(tensor, tensor.read().clone());
            kept[tensor_name] = true;
            overwrite(tensor, result);
        }
    }
}

void Weights::unmerge() {
    ++version_;
    const c10::NoGradGuard no_grad;
    require(merged_, "no adapter is merged");
    for (const auto& [tensor, before] : before_merge_) overwrite(tensor, before);
    before_merge_.clear();
    if (tied_before_merge_) base().set_tied(true);
    merged_ = false;
}

bool Weights::drop_adapters() {
    ++version_;
    const bool untied = merged_ && tied_before_merge_ && !base().tied();
    if (whole_) whole_->share_with(base());
    whole_.reset();
    adapters_.clear();
    reference_.reset();
    before_merge_.clear();
    active_.clear();
    merged_ = own_reference_ = false;
    enabled_ = true;
    return untied;
}

Adapter* Weights::chosen() const {
    if (whole_) return whole_.get();
    return active_.empty() ? nullptr : &find(active_);
}

std::string Weights::policy_name() const { return policy() == nullptr ? "" : active_; }

const Adapter* Weights::policy() const { return enabled_ && !merged_ ? chosen() : nullptr; }

const Adapter* Weights::reference() const {
    require_unmerged();
    if (whole_ && !own_reference_) {
        throw EngineError("BAD_INPUT", "a model that is trained in full has no reference yet",
                          "call makeReference before the first step");
    }
    return whole_ ? nullptr : reference_.get();
}

Adapter& Weights::trained() {
    require_unmerged();
    Adapter* adapter = chosen();
    if (adapter != nullptr && enabled_) return *adapter;
    throw EngineError(
        "BAD_INPUT",
        adapter == nullptr ? "the model has no trainable parameters" : "the adapter is off",
        "call applyLora or trainAll before training, and train outside disableAdapter");
}

Parameters* Weights::parameters() const {
    Adapter* adapter = chosen();
    return adapter == nullptr ? nullptr : &adapter->parameters;
}

int64_t Weights::optimizer_steps() const {
    const Parameters* trained = parameters();
    return trained == nullptr ? 0 : trained->steps;
}

std::string Weights::optimizer() const {
    const Parameters* trained = parameters();
    if (trained == nullptr || !trained->optimizer) return "";
    return trained->optimizer->name;
}

void Weights::set_optimizer(const std::string& name) {
    Parameters* trained = parameters();
    require(trained != nullptr, "the model has no trainable parameters");
    trained->optimizer = name.empty() ? nullptr : make_optimizer(name, *trained);
    trained->steps = 0;
}

void Weights::zero_grad() {
    if (Parameters* trained = parameters()) trained->zero_grad();
}

std::vector<NamedTensor> Weights::parameter_tensors(Adapter& adapter) const {
    std::vector<NamedTensor> tensors;
    Parameters& parameters = adapter.parameters;
    for (size_t i = 0; i < parameters.size(); ++i) {
        const at::Tensor value = parameters.slice(parameters.values, i);
        NamedTensor tensor = named_tensor(parameters.name(i), value);
        if (is_model_tensor(tensor.name)) tensor.dtype = base().dtype();
        tensor.read = [value, dtype = tensor.dtype] { return value.to(dtype); };
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

/// The optimizer's memory, and the masters of tensors that other sets hold in a narrower dtype.
std::vector<NamedTensor> Weights::optimizer_tensors(const Parameters& parameters,
                                                    at::ScalarType dtype) {
    std::vector<NamedTensor> tensors;
    if (parameters.optimizer) {
        for (const auto& [name, tensor] : parameters.optimizer->memory(parameters))
            tensors.push_back(named_tensor(name, tensor));
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
        if (!is_model_tensor(parameters.name(i)) || parameters.values.scalar_type() == dtype)
            continue;
        tensors.push_back(
            named_tensor(parameters.name(i) + ".master", parameters.slice(parameters.values, i)));
    }
    return tensors;
}

std::vector<NamedTensor> Weights::merged_tensors(bool safe) const {
    Adapter* adapter = chosen();
    require(adapter != nullptr && !whole_, "there is no active adapter to merge");
    require_unmerged();
    std::vector<NamedTensor> tensors = base().named_tensors();
    if (merging_unties(*adapter, base())) {
        tensors.push_back(
            named_tensor(weight_name(base().modules().output.parts[0].name), base().embedding));
    }
    const MergeSteps all = merge_steps(*adapter, base(), safe);
    for (NamedTensor& tensor : tensors) {
        std::vector<std::function<at::Tensor(const at::Tensor&)>> steps;
        for (const auto& [name, step] : all) {
            if (name == tensor.name) steps.push_back(step);
        }
        tensor.change = nullptr;
        tensor.read = [steps, base = tensor.read, name = tensor.name, safe] {
            at::Tensor merged = base();
            for (const auto& step : steps) merged = step(merged);
            if (safe && !steps.empty()) require_finite(merged, name);
            return merged;
        };
    }
    return tensors;
}

std::vector<NamedTensor> Weights::set_tensors(TensorSet set) {
    Adapter* adapter = chosen();
    switch (set) {
        case TensorSet::kModel:
            return whole_ ? parameter_tensors(*whole_) : base().named_tensors();
        case TensorSet::kAdapter:
            return adapter == nullptr ? std::vector<NamedTensor>{} : parameter_tensors(*adapter);
        case TensorSet::kOptimizer:
            if (adapter == nullptr) return {};
            return optimizer_tensors(adapter->parameters, base().dtype());
        case TensorSet::kMerged:
            return merged_tensors(/*safe=*/false);
        case TensorSet::kSafelyMerged:
            return merged_tensors(/*safe=*/true);
        case TensorSet::kReference:
            break;
    }
    if (own_reference_) return base().named_tensors();
    return reference_ ? parameter_tensors(*reference_) : std::vector<NamedTensor>{};
}

void Weights::check_base_copies(const TensorFiles& files, StoredTensors& stored) const {
    const std::string suffix = ".base_layer.weight";
    const std::map<std::string, NamedTensor> tensors = by_name(base().named_tensors());
    for (auto it = stored.begin(); it != stored.end();) {
        const auto& [name, ref] = *it;
        if (!name.ends_with(suffix)) {
            ++it;
            continue;
        }
        const auto found = tensors.find(name.substr(0, name.size() - suffix.size()) + ".weight");
        // The output layer of a tied model has no tensor of its own.
        const at::Tensor own =
            found == tensors.end() ? base().embedding->dense() : found->second.read();
        const at::Tensor copy = at::empty_like(own);
        files.read_into(*ref, copy);
        const at::Tensor as_stored = own.to(dtype_from_name(ref->dtype)).to(own.scalar_type());
        if (!own.is_meta() && !at::equal(copy, as_stored)) {
            throw EngineError("BAD_ADAPTER", "tensor " + name + " differs from the base model's",
                              "load the base model that the adapter was trained on");
        }
        it = stored.erase(it);
    }
}

void Weights::read_set(TensorSet set, const TensorFiles& files, StoredTensors& stored,
                       const std::string& code) {
    for (const NamedTensor& tensor : set_tensors(set)) {
        const auto found = stored.find(tensor.name);
        if (found == stored.end()) throw EngineError(code, "tensor " + tensor.name + " is missing");
        require(tensor.change != nullptr, "this set of tensors cannot be loaded");
        files.read_into(*found->second, tensor.shape,
                        [&](const Write& write) { tensor.change(write, Access::kOverwrite); });
        stored.erase(found);
    }
    if (!stored.empty()) {
        throw EngineError(code, "tensor " + stored.begin()->first + " belongs to nothing here");
    }
}

void Weights::load_set(TensorSet set, const TensorTable& table, int64_t step) {
    ++version_;
    const c10::NoGradGuard no_grad;
    require_unmerged();
    const std::string code = set == TensorSet::kAdapter ? "BAD_ADAPTER" : "BAD_CHECKPOINT";
    const TensorFiles files(table, code);
    StoredTensors stored;
    for (const TensorRef& ref : table.tensors) stored[ref.name] = &ref;
    if (set == TensorSet::kAdapter) check_base_copies(files, stored);
    // An adapter that turns out to be broken must not have replaced half of the one that is there.
    const bool restores = set == TensorSet::kAdapter && chosen() != nullptr;
    const at::Tensor before = restores ? chosen()->parameters.values.clone() : at::Tensor();
    try {
        read_set(set, files, stored, code);
    } catch (...) {
        if (restores) chosen()->parameters.values.copy_(before);
        throw;
    }
    if (set == TensorSet::kOptimizer && chosen() != nullptr) chosen()->parameters.steps = step;
    for (const auto& [name, adapter] : adapters_) adapter->refresh(base());
    for (Adapter* adapter : {whole_.get(), reference_.get()}) {
        if (adapter != nullptr) adapter->refresh(base());
    }
}

std::vector<std::function<at::Tensor()>> Weights::readers(TensorSet set,
                                                          const std::vector<std::string>& names) {
    std::map<std::string, std::function<at::Tensor()>> by_name;
    for (NamedTensor& tensor : set_tensors(set)) by_name[tensor.name] = std::move(tensor.read);
    std::vector<std::function<at::Tensor()>> ordered;
    for (const std::string& name : names) {
        const auto found = by_name.find(name);
        require(found != by_name.end(), "there is no tensor " + name + " to save");
        ordered.push_back(found->second);
    }
    return ordered;
}

void Weights::save_set(TensorSet set, const std::string& path, const std::vector<uint8_t>& header,
                       const std::vector<std::string>& names) {
    const c10::NoGradGuard no_grad;
    write_tensor_file(path, header, readers(set, names));
}

std::vector<at::Tensor> Weights::copy_set(TensorSet set, const std::vector<std::string>& names) {
    const c10::NoGradGuard no_grad;
    std::vector<at::Tensor> copies;
    for (const auto& read : readers(set, names)) {
        const at::Tensor tensor = read();
        copies.push_back(at::empty(tensor.sizes(), tensor.options().device(at::kCPU)));
        copies.back().copy_(tensor);
    }
    return copies;
}

std::vector<TensorInfo> Weights::tensors(TensorSet set) {
    std::vector<TensorInfo> list;
    for (const NamedTensor& tensor : set_tensors(set))
        list.push_back({tensor.name, dtype_name(tensor.dtype), tensor.shape});
    return list;
}

}  // namespace grpo
