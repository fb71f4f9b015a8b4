#include "engine.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "engine_limits.h"
#include "error.h"
#include "rollout/kernel_decoding.h"
#include "rollout/operator_decoding.h"
#include "rollout/rollout.h"
#include "train/deterministic.h"
#include "train/losses/grpo_loss.h"
#include "train/train.h"

namespace grpo {
namespace {

at::ScalarType parse_dtype(const std::string& name) {
    if (name == "float32") return at::kFloat;
    if (name == "bfloat16") return at::kBFloat16;
    if (name == "float16") return at::kHalf;
    if (name == "float64") return at::kDouble;
    throw EngineError("BAD_OPTION", "unknown dtype " + name,
                      "use float32, bfloat16, float16 or float64");
}

/// What was allowed and never asked for means nothing to what comes after.
struct AllowedEnds {
    StreamInbox& inbox;
    ~AllowedEnds() { inbox.forget_all(); }
};

RolloutRoom room_of(const SampleRequest& request) {
    // A group is never split over the limit: it shares its prompt's cache, and its advantages need
    // all of it.
    const int64_t limit = std::max(request.max_rows, request.group_size);
    const int64_t groups = std::min(limit / request.group_size, request.num_prompts());
    RolloutRoom room{
        .rows = groups * request.group_size,
        // A prompt stays until its last completion ends, so there are more of them than full
        // groups.
        .prompts = std::min(kLimits.prompts_per_full_group * groups, request.num_prompts()),
        .group_size = request.group_size,
        .prompt_width = 0,
        .max_new_tokens = request.max_new_tokens};
    for (int64_t p = 0; p < request.num_prompts(); ++p)
        room.prompt_width = std::max(room.prompt_width, request.prompt_length(p));
    return room;
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

}  // namespace

Engine::Engine(const ModelConfig& config, const std::string& device, const std::string& dtype)
    : weights_(config, parse_dtype(dtype), parse_device(device)), decoder_(weights_.decoder) {
    // It plans anew for every shape, and no two batches have the same.
    at::globalContext().setSDPUseCuDNN(false);
}

void Engine::check_ids(const std::vector<int32_t>& ids) const {
    for (const int32_t id : ids) {
        if (id >= 0 && id < decoder_.config().vocab_size) continue;
        throw EngineError("BAD_INPUT", "token id " + std::to_string(id) +
                                           " is outside the vocabulary of " +
                                           std::to_string(decoder_.config().vocab_size));
    }
}

void Engine::check_language_model() const {
    if (decoder_.config().num_labels == 0) return;
    throw EngineError("BAD_INPUT", "a classifier has no distribution over tokens",
                      "load a model with a language-model head");
}

void Engine::check_batch(const Batch& batch) const {
    check_language_model();
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

ForwardMode Engine::policy() const {
    ForwardMode mode;
    mode.adapter = weights_.policy();
    return mode;
}

void Engine::check_drawing(const Drawing& drawing) const {
    check_language_model();
    for (const auto* ids : {&drawing.stop_ids, &drawing.bad_word_ids, &drawing.suppress_tokens,
                            &drawing.begin_suppress_tokens, &drawing.forced_eos_tokens})
        check_ids(*ids);
    require(drawing.stop_strings.empty() || static_cast<int64_t>(drawing.token_offsets.size()) ==
                                                decoder_.config().vocab_size + 1,
            "stop strings need the bytes of every token of the vocabulary");
}

void Engine::check_prompt(const std::string& name, int64_t length, int64_t max_new_tokens) const {
    require(length > 0, name + " is empty");
    const int64_t positions = decoder_.config().max_positions;
    require(length + max_new_tokens <= positions,
            name + " has " + std::to_string(length) + " tokens; with " +
                std::to_string(max_new_tokens) + " new ones it leaves the " +
                std::to_string(positions) + " positions of the model");
}

SampleStats Engine::sample(const SampleRequest& request, const Cancelled& cancelled,
                           SampleEvents events) {
    check_drawing(request);
    check_ids(request.prompt_ids);
    require(static_cast<int64_t>(request.prompt_keys.size()) == request.num_prompts(),
            "one key a prompt");
    for (int64_t p = 0; p < request.num_prompts(); ++p) {
        check_prompt("prompt " + std::to_string(p), request.prompt_length(p),
                     request.max_new_tokens);
    }
    if (request.num_prompts() == 0 || request.max_new_tokens <= 0 || request.group_size <= 0)
        return {};
    const c10::InferenceMode inference;
    ForwardMode mode = policy();
    RolloutRoom room = room_of(request);
    mode.context_length = request.context_length != 0 ? request.context_length
                                                      : room.prompt_width + room.max_new_tokens;
    const AllowedEnds ends{inbox_};
    BlockPool pool(decoder_.config(), decoder_.storage());
    const std::unique_ptr<Decoding> decoding =
        decoding_of(mode, room, request.plain, request.graph_capture, pool, nullptr);
    Rollout rollout(decoder_, mode, *decoding, room, /*part_tokens=*/0, std::move(events),
                    allowed(cancelled));
    const auto drawing = std::make_shared<const Drawing>(request);
    for (int64_t p = 0; p < request.num_prompts(); ++p) {
        const std::span<const int32_t> ids = request.prompt(p);
        rollout.enter({.index = p,
                       .ids = {ids.begin(), ids.end()},
                       .key = static_cast<uint32_t>(request.prompt_keys[p]),
                       .group_size = request.group_size,
                       .drawing = drawing});
    }
    while (!rollout.idle()) {
        if (cancelled()) throw EngineError("CANCELLED", "the rollout was cancelled");
        rollout.step();
    }
    return rollout.stats();
}

std::unique_ptr<Decoding> Engine::decoding_of(const ForwardMode& mode, const RolloutRoom& room,
                                              bool plain, bool record, BlockPool& pool,
                                              PrefixIndex* index) {
    if (plain || record || !KernelDecoding::can_run(decoder_))
        return std::make_unique<OperatorDecoding>(decoder_, mode, room, record, read_back_);
    // Sequences under another policy, or turned otherwise, have nothing in common.
    const std::string name = weights_.policy_name() + '/' + std::to_string(mode.context_length);
    return std::make_unique<KernelDecoding>(decoder_, mode, pool, index, name);
}

Allowed Engine::allowed(const Cancelled& cancelled) {
    return [this, &cancelled](int64_t prompt, int64_t sample) {
        return inbox_.wait_allowed(prompt, sample, cancelled);
    };
}

void Engine::check_stream(const StreamRequest& request) const {
    check_drawing(request);
    check_ids(request.prompt_ids);
    require(request.max_new_tokens > 0 && request.group_size > 0, "nothing is asked for");
    check_prompt("the prompt", static_cast<int64_t>(request.prompt_ids.size()),
                 request.max_new_tokens);
}

SampleStats Engine::stream(const StreamOptions& options, const Cancelled& cancelled,
                           SampleEvents events) {
    check_language_model();
    require(options.max_rows > 0, "a batch has rows");
    const c10::InferenceMode inference;
    ForwardMode mode = policy();
    mode.context_length = options.context_length;
    const RolloutRoom room{.rows = options.max_rows, .prompts = options.max_rows};
    Sequences& kept = sequences(options.cache_bytes);
    const std::unique_ptr<Decoding> decoding =
        decoding_of(mode, room, /*plain=*/false, /*record=*/false, kept.pool, &kept.index);
    const AllowedEnds ends{inbox_};
    events.on_group = [this](const Group& group) { inbox_.forget(group.prompt); };
    Rollout rollout(decoder_, mode, *decoding, room, options.part_tokens, std::move(events),
                    allowed(cancelled));
    while (true) {
        StreamInbox::News news = inbox_.take();
        for (StreamRequest& request : news.entered) {
            rollout.enter({.index = request.ticket,
                           .owner = request.owner,
                           .ids = std::move(request.prompt_ids),
                           .key = static_cast<uint32_t>(request.prompt_key),
                           .group_size = request.group_size,
                           .top_logprobs = request.top_logprobs,
                           .drawing = std::make_shared<const Drawing>(std::move(request))});
        }
        for (const int64_t ticket : news.left) {
            rollout.leave(ticket);
            inbox_.forget(ticket);
        }
        if (rollout.idle()) break;
        if (cancelled()) throw EngineError("CANCELLED", "the batch was cancelled");
        rollout.step();
    }
    return rollout.stats();
}

Engine::Sequences& Engine::sequences(int64_t bytes) {
    if (sequences_ && (sequences_->bytes != bytes || sequences_->version != weights_.version()))
        sequences_.reset();
    if (!sequences_) {
        sequences_ = std::make_unique<Sequences>(decoder_.config(), decoder_.storage(), bytes,
                                                 weights_.version());
    }
    return *sequences_;
}

std::vector<float> Engine::logprobs(const Batch& batch, double temperature, bool reference,
                                    const Cancelled& cancelled) {
    check_batch(batch);
    ForwardMode mode = policy();
    if (reference) mode.adapter = weights_.reference();
    return completion_logprobs(decoder_, batch, temperature, kLimits.pass_tokens, mode, read_back_,
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
    const auto attention = std::make_shared<PackedAttention>(
        decoder_.config(), layout, decoder_.dtype(), device, decoder_.storage());
    ForwardMode mode = policy();
    mode.context_length =
        *std::max_element(layout.prompt_lengths.begin(), layout.prompt_lengths.end());
    const at::Tensor hidden = decoder_.forward(
        to_device(std::vector<int64_t>(ids.begin(), ids.end()), device),
        decoder_.rope_tables(to_device(layout.positions(), device), mode.context_length), attention,
        mode);
    return read_back_.operator()<float>(decoder_.logits(decoder_.final_norm(hidden, mode), mode));
}

LossResult Engine::forward_backward(const TrainBatch& batch, const LossOptions& options,
                                    const Cancelled& cancelled) {
    Adapter& adapter = weights_.trained();
    check_batch(batch);
    const auto tokens = static_cast<size_t>(batch.num_tokens());
    require(static_cast<int64_t>(batch.advantages.size()) == batch.num_rows(),
            "one advantage a completion");
    require(batch.token_advantages.empty() || batch.token_advantages.size() == tokens,
            "one advantage a token");
    require(batch.old_logprobs.empty() || batch.old_logprobs.size() == tokens,
            "one old log-probability a token");
    require(batch.reference_logprobs.empty() || batch.reference_logprobs.size() == tokens,
            "one reference log-probability a token");
    require(batch.sampling_logprobs.empty() || batch.sampling_logprobs.size() == tokens,
            "one sampling log-probability a token");
    require(batch.importance_ratios.empty() || batch.importance_ratios.size() == tokens,
            "one importance ratio a token");
    require(batch.loss_mask.empty() || batch.loss_mask.size() == tokens,
            "one entry of the loss mask a token");
    require(options.beta == 0 || !batch.reference_logprobs.empty() || tokens == 0,
            "beta is not 0, so reference log-probabilities are needed");
    require(options.pass.max_tokens_per_micro_batch > 0, "maxTokensPerMicroBatch must be positive");
    adapter.parameters.need_gradient();
    const Deterministic sums(decoder_.device());
    return grpo::forward_backward(decoder_, adapter, batch, options, read_back_, cancelled);
}

void Engine::check_sft(const SftBatch& batch, const SftOptions& options) const {
    check_batch(batch);
    require(batch.loss_mask.empty() ||
                batch.loss_mask.size() == static_cast<size_t>(batch.num_tokens()),
            "one entry of the loss mask a token");
    require(options.pass.max_tokens_per_micro_batch > 0, "maxTokensPerMicroBatch must be positive");
}

SftResult Engine::sft_forward_backward(const SftBatch& batch, const SftOptions& options,
                                       const Cancelled& cancelled) {
    Adapter& adapter = weights_.trained();
    check_sft(batch, options);
    adapter.parameters.need_gradient();
    const Deterministic sums(decoder_.device());
    return grpo::sft_forward_backward(decoder_, adapter, batch, options, read_back_, cancelled);
}

SftResult Engine::sft_evaluate(const SftBatch& batch, const SftOptions& options,
                               const Cancelled& cancelled) {
    check_sft(batch, options);
    return grpo::sft_evaluate(decoder_, policy(), batch, options, read_back_, cancelled);
}

StepResult Engine::optimizer_step(const OptimizerOptions& options, const Cancelled& cancelled) {
    Adapter& adapter = weights_.trained();
    if (group_) {
        adapter.parameters.need_gradient();
        group_->sum(adapter.parameters.gradient, cancelled);
    }
    const Deterministic sums(decoder_.device());
    const StepResult result = grpo::optimizer_step(adapter.parameters, options, read_back_);
    adapter.parameters.zero_grad();
    sequences_.reset();
    if (result.applied) adapter.refresh(decoder_.base());
    return result;
}

void Engine::join_ranks(const RankOptions& options) {
    group_.reset();
    group_ = RankGroup::join(options);
}

RankGroup& Engine::ranks() {
    require(group_ != nullptr, "this engine has joined no other ranks");
    return *group_;
}

void Engine::share_values(const Cancelled& cancelled) {
    Adapter& adapter = weights_.trained();
    ranks().share(adapter.parameters.values, cancelled);
    sequences_.reset();
    adapter.refresh(decoder_.base());
}

void Engine::leave_ranks(const std::string& reason) {
    if (group_) group_->leave(reason);
    group_.reset();
}

EngineMemory Engine::memory() const {
    EngineMemory memory{.compute_bytes = static_cast<int64_t>(c10::elementSize(decoder_.dtype()))};
    const bool halves = decoder_.storage() == cpu::Storage::kBFloat16;
    memory.kept_bytes = halves ? 2 : memory.compute_bytes;
    const at::Device device = decoder_.device();
    // Metal shares the host's memory.
    if (!device.is_cuda() && !device.is_privateuseone()) return memory;
    const auto index = static_cast<c10::DeviceIndex>(std::max<int>(device.index(), 0));
    const auto [free, total] = at::accelerator::getMemoryInfo(index);
    constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    memory.free = static_cast<int64_t>(free);
    memory.reserved = at::accelerator::getDeviceStats(index).reserved_bytes[kAll].current;
    memory.total = static_cast<int64_t>(total);
    return memory;
}

OperatorCounts Engine::count_operators(bool count) {
    const OperatorCounts counts = counter_ ? counter_->counts() : OperatorCounts();
    counter_.reset();
    if (count) counter_ = std::make_unique<OperatorCounter>();
    return counts;
}

void Engine::zero_grad() { weights_.zero_grad(); }

std::vector<std::pair<std::string, std::vector<float>>> Engine::gradients() {
    std::vector<std::pair<std::string, std::vector<float>>> list;
    Parameters* parameters = weights_.parameters();
    if (parameters == nullptr) return list;
    parameters->need_gradient();
    for (size_t i = 0; i < parameters->size(); ++i) {
        list.emplace_back(parameters->name(i),
                          read_back_.operator()<float>(parameters->slice(parameters->gradient, i)));
    }
    return list;
}

void try_device(const std::string& name) {
    const at::Device device = parse_device(name);
    const auto refuse = [&](const std::string& reason) {
        throw EngineError("DEVICE_UNAVAILABLE", "device " + name + " cannot be used: " + reason,
                          "use device \"cpu\", or see what holds the device");
    };
    try {
        const at::Tensor two = at::ones({1}, at::TensorOptions().device(device)) + 1;
        if (ReadBack().operator()<float>(two)[0] != 2) refuse("it does not add");
    } catch (const c10::Error& error) {
        refuse(error.what_without_backtrace());
    }
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
