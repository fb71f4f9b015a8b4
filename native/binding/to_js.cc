// The way back: results as JavaScript values.
#include <cstring>

#include "binding/convert.h"

namespace grpo {
namespace {

template <typename Array, typename Element>
Array copy_to_js(Napi::Env env, const std::vector<Element>& values) {
    Array array = Array::New(env, values.size());
    if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(Element));
    return array;
}

}  // namespace

Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values) {
    return copy_to_js<Napi::Float32Array>(env, values);
}

Napi::Float64Array to_js(Napi::Env env, const std::vector<double>& values) {
    return copy_to_js<Napi::Float64Array>(env, values);
}

Napi::Value to_js(Napi::Env env, const std::string& value) { return Napi::String::New(env, value); }

Napi::Value to_js(Napi::Env env, int64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
}

Napi::Value to_js(Napi::Env env, bool value) { return Napi::Boolean::New(env, value); }

Napi::Object to_js(Napi::Env env,
                   const std::vector<std::pair<std::string, std::vector<float>>>& arrays) {
    Napi::Object object = Napi::Object::New(env);
    for (const auto& [name, values] : arrays) object.Set(name, to_js(env, values));
    return object;
}

Napi::Object to_js(Napi::Env env, const Group& group) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("prompt", static_cast<double>(group.prompt));
    object.Set("ids", copy_to_js<Napi::Int32Array>(env, group.ids));
    object.Set("offsets", copy_to_js<Napi::Int32Array>(env, group.offsets));
    object.Set("logprobs", to_js(env, group.logprobs));
    object.Set("finish", copy_to_js<Napi::Uint8Array>(env, group.finish));
    return object;
}

Napi::Object to_js(Napi::Env env, const StepTokens& tokens) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("prompts", copy_to_js<Napi::Int32Array>(env, tokens.prompts));
    object.Set("samples", copy_to_js<Napi::Int32Array>(env, tokens.samples));
    object.Set("ids", copy_to_js<Napi::Int32Array>(env, tokens.ids));
    return object;
}

Napi::Object to_js(Napi::Env env, const SampleStats& stats) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("decodeSteps", static_cast<double>(stats.decode_steps));
    object.Set("tokens", static_cast<double>(stats.tokens));
    object.Set("prefillTokens", static_cast<double>(stats.prefill_tokens));
    object.Set("prefillSeconds", stats.prefill_seconds);
    object.Set("decodeSeconds", stats.decode_seconds);
    return object;
}

Napi::Object to_js(Napi::Env env, const EngineMemory& memory) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("computeBytes", static_cast<double>(memory.compute_bytes));
    object.Set("free", static_cast<double>(memory.free));
    object.Set("total", static_cast<double>(memory.total));
    return object;
}

Napi::Object to_js(Napi::Env env, const OperatorCounts& counts) {
    Napi::Object kernels = Napi::Object::New(env);
    for (const auto& [name, count] : counts.kernels) kernels.Set(name, static_cast<double>(count));
    Napi::Object object = Napi::Object::New(env);
    object.Set("operators", static_cast<double>(counts.operators));
    object.Set("kernels", kernels);
    object.Set("flops", static_cast<double>(counts.flops));
    object.Set("peakBytes", static_cast<double>(counts.peak_bytes));
    return object;
}

Napi::Object to_js(Napi::Env env, const LossResult& result) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("loss", result.loss);
    object.Set("policyLoss", result.policy_loss);
    object.Set("entropy", result.entropy);
    object.Set("kl", result.kl);
    object.Set("clipLow", result.clip_low);
    object.Set("clipHigh", result.clip_high);
    object.Set("clipRegion", result.clip_region);
    object.Set("clipLowMin", result.clip_low_min);
    object.Set("clipHighMax", result.clip_high_max);
    object.Set("phi", result.phi);
    object.Set("logpDifferenceMean", result.logp_difference_mean);
    object.Set("logpDifferenceMax", result.logp_difference_max);
    object.Set("activeEntropy", result.active_entropy);
    object.Set("activeTokens", static_cast<double>(result.active_tokens));
    object.Set("tokens", static_cast<double>(result.tokens));
    object.Set("idleRows", static_cast<double>(result.idle_rows));
    object.Set("microBatches", static_cast<double>(result.micro_batches));
    return object;
}

Napi::Object to_js(Napi::Env env, const StepResult& result) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("gradNorm", result.grad_norm);
    object.Set("applied", result.applied);
    return object;
}

Napi::Array to_js(Napi::Env env, const std::vector<TensorInfo>& tensors) {
    Napi::Array list = Napi::Array::New(env, tensors.size());
    for (uint32_t i = 0; i < tensors.size(); ++i) {
        Napi::Object object = Napi::Object::New(env);
        object.Set("name", tensors[i].name);
        object.Set("dtype", tensors[i].dtype);
        Napi::Array shape = Napi::Array::New(env, tensors[i].shape.size());
        for (uint32_t d = 0; d < tensors[i].shape.size(); ++d) {
            shape.Set(d, static_cast<double>(tensors[i].shape[d]));
        }
        object.Set("shape", shape);
        list.Set(i, object);
    }
    return list;
}

Napi::Array to_js(Napi::Env env, const std::vector<DeviceInfo>& devices) {
    Napi::Array list = Napi::Array::New(env, devices.size());
    for (uint32_t i = 0; i < devices.size(); ++i) {
        Napi::Object object = Napi::Object::New(env);
        object.Set("type", devices[i].type);
        object.Set("count", static_cast<double>(devices[i].count));
        list.Set(i, object);
    }
    return list;
}

}  // namespace grpo
