#include "engine.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "error.h"
#include "grpo/train.h"
#include "io/tensor_file.h"
#include "optim/adamw.h"
#include "rollout/random.h"
#include "rollout/rollout.h"

namespace grpo {
namespace {

constexpr int64_t kLogprobTokens = 8192;  // of one pass without gradients
constexpr double kInitStd = 0.02;

at::ScalarType parse_dtype(const std::string& name) {
    if (name == "float32") return at::kFloat;
    if (name == "bfloat16") return at::kBFloat16;
    if (name == "float16") return at::kHalf;
    if (name == "float64") return at::kDouble;
    throw EngineError("BAD_OPTION", "unknown dtype " + name,
                      "use float32, bfloat16, float16 or float64");
}

at::Device parse_device(const std::string& name) {
    try {
        const at::Device device(name);
        if (device.is_cuda() && !at::globalContext().hasCUDA()) {
            throw EngineError("DEVICE_UNAVAILABLE",
                              "device " + name + " was asked for, but libtorch sees no CUDA device",
                              "use device \"cpu\", or install a CUDA libtorch and a driver");
        }
        return device;
    } catch (const c10::Error&) {
        throw EngineError("BAD_OPTION", "unknown device " + name,
                          "use auto, cpu, cuda, cuda:N or mps");
    }
}

/// Fills `destination` from a function of the element's index, computed in float64 on the host.
template <typename F>
void fill(const at::Tensor& destination, F element) {
    std::vector<double> values(destination.numel());
    for (size_t i = 0; i < values.size(); ++i) values[i] = element(i);
    destination.copy_(to_device(values, at::kCPU).view(destination.sizes()));
}

void fill_uniform(const at::Tensor& destination, const std::string& name, uint64_t seed,
                  double bound) {
    const uint32_t stream = hash_name(name);
    fill(destination,
         [&](uint64_t i) { return (2 * element_uniforms(seed, stream, i)[0] - 1) * bound; });
}

}  // namespace

Engine::Engine(const ModelConfig& config, const std::string& device, const std::string& dtype)
    : decoder_(config, parse_dtype(dtype), parse_device(device)) {}

void Engine::load_model(const TensorTable& table) {
    const c10::NoGradGuard no_grad;
    load_set(TensorSet::kModel, table, 0);
}

void Engine::init_model(uint64_t seed) {
    const c10::NoGradGuard no_grad;
    for (const auto& [name, tensor] : decoder_.named_tensors()) {
        if (tensor.is_meta()) continue;
        if (tensor.dim() == 2) {
            const uint32_t stream = hash_name(name);
            fill(tensor, [&](uint64_t i) { return kInitStd * element_normal(seed, stream, i); });
        } else {
            tensor.fill_(name.ends_with(".bias") ? 0 : 1 - decoder_.config().norm_offset);
        }
    }
}

void Engine::apply_lora(const LoraSpec& spec) {
    const c10::NoGradGuard no_grad;
    std::map<std::string, const LoraTarget*> targets;
    for (const LoraTarget& target : spec.targets) targets[target.module] = &target;
    std::vector<Parameters::Spec> shapes;
    size_t matched = 0;
    for (const Linear* linear : decoder_.linears()) {
        for (const LinearPart& part : linear->parts()) {
            const auto found = targets.find(part.module);
            if (found == targets.end()) continue;
            require(found->second->rank > 0, "the rank of " + part.module + " must be positive");
            shapes.push_back({part.module + ".lora_A.weight", {found->second->rank, linear->in()}});
            shapes.push_back({part.module + ".lora_B.weight", {part.out, found->second->rank}});
            ++matched;
        }
    }
    require(matched == spec.targets.size(),
            "some adapter targets are no linear layers of this model");

    parameters_ = Parameters(shapes, decoder_.device());
    dropout_ = spec.dropout;
    adapter_enabled_ = true;
    for (const auto& [name, value] : parameters_.list()) {
        // PEFT: A is Kaiming uniform with a = sqrt(5), that is U(-1/sqrt(in), 1/sqrt(in)); B is
        // zero, or drawn like A.
        const bool is_b = name.ends_with(".lora_B.weight");
        if (value.is_meta() || (is_b && spec.zero_b)) continue;
        fill_uniform(value.detach(), name, spec.seed,
                     1 / std::sqrt(static_cast<double>(value.size(1))));
    }
    for (Linear* linear : decoder_.linears()) {
        for (LinearPart& part : linear->parts()) {
            part.lora.reset();
            const auto found = targets.find(part.module);
            if (found == targets.end()) continue;
            part.lora = Lora{.a = parameters_.find(part.module + ".lora_A.weight"),
                             .b = parameters_.find(part.module + ".lora_B.weight"),
                             .scaling = found->second->scaling};
        }
    }
}

std::vector<std::pair<std::string, at::Tensor>> Engine::set_tensors(TensorSet set) const {
    if (set == TensorSet::kModel) return decoder_.named_tensors();
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (size_t i = 0; i < parameters_.list().size(); ++i) {
        const Parameter& parameter = parameters_.list()[i];
        if (set == TensorSet::kAdapter) {
            tensors.emplace_back(parameter.name, parameter.value.detach());
        } else {
            tensors.emplace_back(parameter.name + ".exp_avg",
                                 parameters_.slice(parameters_.exp_avg, i));
            tensors.emplace_back(parameter.name + ".exp_avg_sq",
                                 parameters_.slice(parameters_.exp_avg_sq, i));
        }
    }
    return tensors;
}

void Engine::load_set(TensorSet set, const TensorTable& table, int64_t step) {
    const c10::NoGradGuard no_grad;
    const TensorFiles files(table);
    std::map<std::string, const TensorRef*> stored;
    for (const TensorRef& ref : table.tensors) stored[ref.name] = &ref;
    for (const auto& [name, destination] : set_tensors(set)) {
        const auto found = stored.find(name);
        if (found == stored.end())
            throw EngineError("BAD_CHECKPOINT", "tensor " + name + " is missing");
        files.read_into(*found->second, destination);
        stored.erase(found);
    }
    if (!stored.empty()) {
        throw EngineError("BAD_CHECKPOINT",
                          "tensor " + stored.begin()->first + " belongs to nothing here");
    }
    if (set == TensorSet::kOptimizer) parameters_.steps = step;
}

void Engine::save_set(TensorSet set, const std::string& path, const std::vector<uint8_t>& header,
                      const std::vector<std::string>& names) const {
    const auto all = set_tensors(set);
    const std::map<std::string, at::Tensor> by_name(all.begin(), all.end());
    std::vector<at::Tensor> ordered;
    for (const std::string& name : names) {
        const auto found = by_name.find(name);
        require(found != by_name.end(), "there is no tensor " + name + " to save");
        ordered.push_back(found->second);
    }
    write_tensor_file(path, header, ordered);
}

std::vector<TensorInfo> Engine::tensors(TensorSet set) const {
    std::vector<TensorInfo> list;
    for (const auto& [name, tensor] : set_tensors(set)) {
        list.push_back({name, dtype_name(tensor.scalar_type()), tensor.sizes().vec()});
    }
    return list;
}

void Engine::check_ids(const std::vector<int32_t>& ids) const {
    for (const int32_t id : ids) {
        if (id >= 0 && id < decoder_.config().vocab_size) continue;
        throw EngineError("BAD_INPUT", "token id " + std::to_string(id) +
                                           " is outside the vocabulary of " +
                                           std::to_string(decoder_.config().vocab_size));
    }
}

void Engine::check_batch(const Batch& batch) const {
    check_ids(batch.prompt_ids);
    check_ids(batch.completion_ids);
    require(!batch.prompt_offsets.empty() &&
                batch.prompt_offsets.back() == static_cast<int64_t>(batch.prompt_ids.size()),
            "prompt offsets and ids disagree");
    require(batch.completion_offsets.size() == batch.prompt_of.size() + 1 &&
                batch.completion_offsets.back() == batch.num_tokens(),
            "completion offsets and ids disagree");
    for (int64_t p = 0; p < batch.num_prompts(); ++p) {
        require(batch.prompt_length(p) > 0, "prompt " + std::to_string(p) + " is empty");
    }
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
        const int64_t prompt = batch.prompt_of[row];
        require(prompt >= 0 && prompt < batch.num_prompts() &&
                    (row == 0 || batch.prompt_of[row - 1] <= prompt),
                "completions must name their prompts in ascending order");
        require(batch.completion_length(row) >= 0, "completion offsets must ascend");
    }
}

void Engine::require_adapter() const {
    if (!parameters_.empty() && adapter_enabled_) return;
    throw EngineError(
        "BAD_INPUT",
        parameters_.empty() ? "the model has no trainable parameters" : "the adapter is off",
        "call applyLora before training, and train outside disableAdapter");
}

SampleStats Engine::sample(const SampleRequest& request, const Cancelled& cancelled,
                           SampleEvents events) {
    check_ids(request.prompt_ids);
    check_ids(request.stop_ids);
    require(static_cast<int64_t>(request.prompt_keys.size()) == request.num_prompts(),
            "one key a prompt");
    require(request.stop_strings.empty() || static_cast<int64_t>(request.token_offsets.size()) ==
                                                decoder_.config().vocab_size + 1,
            "stop strings need the bytes of every token of the vocabulary");
    for (int64_t p = 0; p < request.num_prompts(); ++p) {
        require(request.prompt_length(p) > 0, "prompt " + std::to_string(p) + " is empty");
        require(
            request.prompt_length(p) + request.max_new_tokens <= decoder_.config().max_positions,
            "prompt " + std::to_string(p) + " has " + std::to_string(request.prompt_length(p)) +
                " tokens; with " + std::to_string(request.max_new_tokens) +
                " new ones it leaves the " + std::to_string(decoder_.config().max_positions) +
                " positions of the model");
    }
    if (request.num_prompts() == 0 || request.max_new_tokens <= 0 || request.group_size <= 0)
        return {};
    const c10::InferenceMode inference;
    ForwardMode mode;
    mode.adapter = adapter_enabled_;
    mode.context_length = request.context_length;
    for (int64_t p = 0; p < request.num_prompts() && request.context_length == 0; ++p) {
        mode.context_length =
            std::max(mode.context_length, request.prompt_length(p) + request.max_new_tokens);
    }
    return Rollout(decoder_, request, mode, read_back_, cancelled, std::move(events)).run();
}

std::vector<float> Engine::logprobs(const Batch& batch, double temperature,
                                    const Cancelled& cancelled) {
    check_batch(batch);
    ForwardMode mode;
    mode.adapter = adapter_enabled_;
    return completion_logprobs(decoder_, batch, temperature, kLogprobTokens, mode, read_back_,
                               cancelled);
}

std::vector<float> Engine::forward(const std::vector<int32_t>& ids,
                                   const std::vector<int32_t>& offsets) {
    check_ids(ids);
    PackedLayout layout;
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
        layout.prompt_lengths.push_back(offsets[i + 1] - offsets[i]);
        require(layout.prompt_lengths.back() > 0, "sequence " + std::to_string(i) + " is empty");
    }
    require(layout.num_prompt_tokens() == static_cast<int64_t>(ids.size()),
            "offsets and ids disagree");
    if (ids.empty()) return {};
    const c10::InferenceMode inference;
    const at::Device device = decoder_.device();
    const auto attention =
        std::make_shared<PackedAttention>(decoder_.config(), layout, decoder_.dtype(), device);
    ForwardMode mode;
    mode.adapter = adapter_enabled_;
    mode.context_length =
        *std::max_element(layout.prompt_lengths.begin(), layout.prompt_lengths.end());
    const at::Tensor hidden =
        decoder_.forward(to_device(std::vector<int64_t>(ids.begin(), ids.end()), device),
                         to_device(layout.positions(), device), attention, mode);
    return read_back_.operator()<float>(decoder_.logits(decoder_.final_norm(hidden, mode), mode));
}

LossResult Engine::forward_backward(const TrainBatch& batch, const LossOptions& options,
                                    const Cancelled& cancelled) {
    require_adapter();
    check_batch(batch);
    const auto tokens = static_cast<size_t>(batch.num_tokens());
    require(static_cast<int64_t>(batch.advantages.size()) == batch.num_rows(),
            "one advantage a completion");
    require(batch.old_logprobs.empty() || batch.old_logprobs.size() == tokens,
            "one old log-probability a token");
    require(batch.reference_logprobs.empty() || batch.reference_logprobs.size() == tokens,
            "one reference log-probability a token");
    require(batch.sampling_logprobs.empty() || batch.sampling_logprobs.size() == tokens,
            "one sampling log-probability a token");
    require(options.beta == 0 || !batch.reference_logprobs.empty() || tokens == 0,
            "beta is not 0, so reference log-probabilities are needed");
    require(options.max_tokens_per_micro_batch > 0, "maxTokensPerMicroBatch must be positive");
    return grpo::forward_backward(decoder_, batch, options, dropout_, read_back_, cancelled);
}

StepResult Engine::optimizer_step(const AdamWOptions& options) {
    require_adapter();
    const StepResult result = adamw_step(parameters_, options, read_back_);
    parameters_.zero_grad();
    return result;
}

std::vector<std::pair<std::string, std::vector<float>>> Engine::gradients() {
    std::vector<std::pair<std::string, std::vector<float>>> list;
    for (size_t i = 0; i < parameters_.list().size(); ++i) {
        list.emplace_back(parameters_.list()[i].name,
                          read_back_.operator()<float>(parameters_.slice(parameters_.gradient, i)));
    }
    return list;
}

std::vector<DeviceInfo> available_devices() {
    std::vector<DeviceInfo> devices;
    if (at::globalContext().hasCUDA()) {
        const auto count = static_cast<int64_t>(
            at::globalContext().getAcceleratorHooksInterface(at::kCUDA).deviceCount());
        if (count > 0) devices.push_back({"cuda", count});
    }
    if (at::globalContext().hasMPS()) devices.push_back({"mps", 1});
    devices.push_back({"cpu", 1});
    return devices;
}

}  // namespace grpo
