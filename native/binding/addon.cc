// The entry of the core: grpo_core_init fills the exports of one environment. lib/native/native.ts
// is their typed mirror.
#include <ATen/Functions.h>
#include <torch/headeronly/version.h>

#include "binding/convert.h"
#include "binding/engine_wrap.h"
#include "binding/errors.h"
#include "binding/napi_setup.h"
#include "binding_revision.h"
#include "cpu/gemm.h"
#include "cpu/instruction_set.h"
#include "cpu/kernels.h"
#include "cpu/linear.h"
#include "cpu/row_sampler.h"
#include "device.h"
#include "error.h"
#include "grpo/loss.h"
#include "machine_probe.h"
#include "rollout/sampler.h"

namespace grpo {
namespace {

Napi::Value torch_version(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), TORCH_VERSION);
}

Napi::Value instruction_set(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        return Napi::String::New(info.Env(), cpu::name_of(cpu::instruction_set()));
    });
}

Napi::Value instruction_sets(const Napi::CallbackInfo& info) {
    const auto most = static_cast<uint32_t>(cpu::processor_instruction_set());
    Napi::Array names = Napi::Array::New(info.Env(), most + 1);
    for (uint32_t i = 0; i <= most; ++i)
        names.Set(i, cpu::name_of(static_cast<cpu::InstructionSet>(i)));
    return names;
}

Napi::Value devices(const Napi::CallbackInfo& info) {
    return guarded(info.Env(),
                   [&]() -> Napi::Value { return to_js(info.Env(), available_devices()); });
}

Napi::Value machine_probe(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const MachineProbe probe =
            probe_machine(string_argument(info, 0), static_cast<int>(number_argument(info, 1)));
        Napi::Object object = Napi::Object::New(info.Env());
        object.Set("readGBPerSecond", probe.read_gb_per_second);
        object.Set("gemmGflopsFloat32", probe.gemm_gflops_float32);
        object.Set("gemmGflopsBfloat16", probe.gemm_gflops_bfloat16);
        return object;
    });
}

Napi::Value loss_and_gradient(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const Napi::Object input = object_argument(info, 0);
        const auto doubles = [&](const char* name) { return double_vector(input.Get(name), name); };
        const ScoredBatch scored{
            .completion_offsets = int32_vector(input.Get("offsets"), "offsets"),
            .advantages = doubles("advantages"),
            .logprobs = doubles("logprobs"),
            .entropy = doubles("entropy"),
            .old = doubles("old"),
            .reference = doubles("reference"),
            .loss_mask = optional_bytes(input, "lossMask"),
            .slice_offsets = optional_int32s(input, "sliceOffsets")};
        const size_t tokens = scored.logprobs.size();
        const auto of_tokens = [&](const auto& values) {
            return values.empty() || values.size() == tokens;
        };
        require(scored.completion_offsets.size() == scored.advantages.size() + 1 &&
                    static_cast<size_t>(scored.completion_offsets.back()) == tokens &&
                    scored.entropy.size() == tokens && of_tokens(scored.old) &&
                    of_tokens(scored.reference) && of_tokens(scored.loss_mask),
                "offsets, advantages, logprobs, entropy, old, reference and lossMask disagree");
        const LossAndGradient result =
            loss_and_gradient(scored, loss_options_from(object_argument(info, 1)));
        Napi::Object object = Napi::Object::New(info.Env());
        object.Set("loss", result.loss);
        object.Set("logprobs", to_js(info.Env(), result.logprobs));
        object.Set("entropy", to_js(info.Env(), result.entropy));
        return object;
    });
}

/// The kernels of the CPU on numbers of the caller's, none of which is copied but to narrow b.
Napi::Value multiply_matrices(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const Napi::Object call = object_argument(info, 0);
        const auto size = [&](const char* name) {
            return static_cast<int64_t>(number_field(call, name));
        };
        const auto strides = [&](const char* name) {
            const std::vector<int32_t> values = int32_vector(call.Get(name), name);
            require(values.size() == 2, "a matrix has two strides");
            return values;
        };
        const std::vector<float> a = float_vector(call.Get("a"), "a");
        at::Tensor b = to_device(float_vector(call.Get("b"), "b"), at::kCPU);
        if (bool_field(call, "narrow")) b = b.to(at::kBFloat16);
        std::vector<float> c = float_vector(call.Get("c"), "c");
        const cpu::Storage storage = cpu::storage_of(b.scalar_type());
        const auto as = strides("aStrides"), bs = strides("bStrides");
        const cpu::Product product{.m = size("m"),
                                   .n = size("n"),
                                   .k = size("k"),
                                   .a = {a.data(), cpu::Storage::kFloat, as[0], as[1]},
                                   .b = {b.const_data_ptr(), storage, bs[0], bs[1]},
                                   .c = c.data(),
                                   .c_stride = size("cStride"),
                                   .scale = static_cast<float>(number_field(call, "scale")),
                                   .add = bool_field(call, "add")};
        const auto within = [](int64_t rows, int64_t columns, int64_t row_stride,
                               int64_t column_stride, int64_t count) {
            return row_stride >= 0 && column_stride >= 0 &&
                   (rows - 1) * row_stride + (columns - 1) * column_stride < count;
        };
        require(
            product.m > 0 && product.n > 0 && product.k > 0 &&
                within(product.m, product.k, as[0], as[1], static_cast<int64_t>(a.size())) &&
                within(product.k, product.n, bs[0], bs[1], b.numel()) &&
                within(product.m, product.n, product.c_stride, 1, static_cast<int64_t>(c.size())),
            "sizes, strides and numbers disagree");
        const auto set =
            bool_field(call, "generic") ? cpu::InstructionSet::kGeneric : cpu::instruction_set();
        cpu::multiply(cpu::kernels_of(set).gemm, product);
        return to_js(info.Env(), c);
    });
}

/// By the kernels of the CPU.
std::vector<float> sampling_probabilities_of(const std::vector<float>& logits,
                                             const std::vector<uint8_t>& seen, int64_t rows,
                                             const SampleRequest& request) {
    const auto vocab_size = static_cast<int64_t>(logits.size()) / rows;
    cpu::RowSampler sampler(request, vocab_size);
    std::vector<float> result;
    for (int64_t row = 0; row < rows; ++row) {
        const auto* marks = reinterpret_cast<const bool*>(seen.data()) + row * vocab_size;
        const std::vector<float> probabilities =
            sampler.probabilities({logits.data() + row * vocab_size, marks, 0});
        result.insert(result.end(), probabilities.begin(), probabilities.end());
    }
    return result;
}

Napi::Value sampling_probabilities(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const std::vector<float> values = float_vector(info[0], "logits");
        const std::vector<uint8_t> marks = byte_vector(info[1], "seen");
        const auto rows = static_cast<int64_t>(number_argument(info, 2));
        const Napi::Object options = object_argument(info, 3);
        require(rows > 0 && !values.empty() && values.size() % rows == 0 &&
                    marks.size() == values.size(),
                "logits and seen disagree");
        SampleRequest request;
        request.temperature = number_field(options, "temperature");
        request.top_p = number_field(options, "topP");
        request.top_k = static_cast<int64_t>(number_field(options, "topK"));
        request.min_p = number_field(options, "minP");
        request.repetition_penalty = number_field(options, "repetitionPenalty");
        if (!options.Get("plain").ToBoolean())
            return to_js(info.Env(), sampling_probabilities_of(values, marks, rows, request));
        const at::Tensor logits = to_device(values, at::kCPU).view({rows, -1});
        const at::Tensor seen = to_device(marks, at::kCPU).view({rows, -1}).to(at::kBool);
        ReadBack read_back;
        return to_js(info.Env(), read_back.operator()<float>(
                                     process_logits(logits, seen, request).softmax(-1)));
    });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    // A name that is none is refused here, before anything computes.
    guarded(env, [] { return cpu::instruction_set(); });
    exports.Set("bindingRevision", GRPO_BINDING_REVISION);
    exports.Set("Engine", EngineWrap::define(env));
    exports.Set("torchVersion", Napi::Function::New<torch_version>(env));
    exports.Set("instructionSet", Napi::Function::New<instruction_set>(env));
    exports.Set("instructionSets", Napi::Function::New<instruction_sets>(env));
    exports.Set("devices", Napi::Function::New<devices>(env));
    exports.Set("machineProbe", Napi::Function::New<machine_probe>(env));
    exports.Set("lossAndGradient", Napi::Function::New<loss_and_gradient>(env));
    exports.Set("multiplyMatrices", Napi::Function::New<multiply_matrices>(env));
    exports.Set("samplingProbabilities", Napi::Function::New<sampling_probabilities>(env));
    return exports;
}

}  // namespace
}  // namespace grpo

extern "C" __attribute__((visibility("default"))) napi_value grpo_core_init(napi_env env,
                                                                            napi_value exports) {
    return Napi::RegisterModule(env, exports, grpo::init);
}
