// JavaScript values to plain structs and back. TypeScript has validated the values already; what is
// checked here keeps a foreign caller from corrupting memory.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "batch.h"
#include "binding/napi_setup.h"
#include "engine.h"

namespace grpo {

ModelConfig model_config_from(const Napi::Object& object);
TensorTable tensor_table_from(const Napi::Object& object);
AdapterSpec adapter_spec_from(const Napi::Object& object);
SampleRequest sample_request_from(const Napi::Object& object);
Batch batch_from(const Napi::Object& object);
TrainBatch train_batch_from(const Napi::Object& object);
LossOptions loss_options_from(const Napi::Object& object);
OptimizerKind optimizer_kind_from(const std::string& name);
OptimizerOptions optimizer_options_from(const Napi::Object& object);
TensorSet tensor_set_from(const Napi::Value& value);

std::string string_field(const Napi::Object& object, const char* name);
bool bool_field(const Napi::Object& object, const char* name);
double number_field(const Napi::Object& object, const char* name);
Napi::Object object_argument(const Napi::CallbackInfo& info, size_t index);
double number_argument(const Napi::CallbackInfo& info, size_t index);
std::string string_argument(const Napi::CallbackInfo& info, size_t index);

std::vector<int32_t> int32_vector(const Napi::Value& value, const char* name);
std::vector<float> float_vector(const Napi::Value& value, const char* name);
std::vector<double> double_vector(const Napi::Value& value, const char* name);
std::vector<uint8_t> byte_vector(const Napi::Value& value, const char* name);
/// Empty when absent.
std::vector<uint8_t> optional_bytes(const Napi::Object& object, const char* name);
std::vector<int32_t> optional_int32s(const Napi::Object& object, const char* name);
std::vector<std::string> string_vector(const Napi::Value& value, const char* name);

Napi::Float32Array to_js(Napi::Env env, const std::vector<float>& values);
Napi::Float64Array to_js(Napi::Env env, const std::vector<double>& values);
Napi::Value to_js(Napi::Env env, int64_t value);
Napi::Value to_js(Napi::Env env, bool value);
Napi::Value to_js(Napi::Env env, const std::string& value);
/// name -> Float32Array
Napi::Object to_js(Napi::Env env,
                   const std::vector<std::pair<std::string, std::vector<float>>>& arrays);
Napi::Object to_js(Napi::Env env, const Group& group);
Napi::Object to_js(Napi::Env env, const StepTokens& tokens);
Napi::Object to_js(Napi::Env env, const SampleStats& stats);
Napi::Object to_js(Napi::Env env, const EngineMemory& memory);
Napi::Object to_js(Napi::Env env, const OperatorCounts& counts);
Napi::Object to_js(Napi::Env env, const LossResult& result);
Napi::Object to_js(Napi::Env env, const StepResult& result);
Napi::Array to_js(Napi::Env env, const std::vector<TensorInfo>& tensors);
Napi::Array to_js(Napi::Env env, const std::vector<DeviceInfo>& devices);

}  // namespace grpo
