#include "binding/to_js.h"

#include <cstring>

namespace grpo {
namespace {

template <typename Array, typename Element>
Array copy(Napi::Env env, const Element* values, size_t count) {
    Array array = Array::New(env, count);
    if (count > 0) std::memcpy(array.Data(), values, count * sizeof(Element));
    return array;
}

}  // namespace

Napi::Value to_js(Napi::Env env, bool value) { return Napi::Boolean::New(env, value); }

Napi::Value to_js(Napi::Env env, double value) { return Napi::Number::New(env, value); }

Napi::Value to_js(Napi::Env env, int64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
}

Napi::Value to_js(Napi::Env env, uint64_t value) {
    return Napi::Number::New(env, static_cast<double>(value));
}

Napi::Value to_js(Napi::Env env, const std::string& value) { return Napi::String::New(env, value); }

Napi::Value to_js(Napi::Env env, const ByteString& value) {
    return copy<Napi::Uint8Array>(env, value.data(), value.size());
}

Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values) {
    return copy<Napi::Int32Array>(env, values.data(), values.size());
}

Napi::Value to_js(Napi::Env env, const std::vector<float>& values) {
    return copy<Napi::Float32Array>(env, values.data(), values.size());
}

Napi::Value to_js(Napi::Env env, const std::vector<double>& values) {
    return copy<Napi::Float64Array>(env, values.data(), values.size());
}

Napi::Value to_js(Napi::Env env, const std::vector<uint8_t>& values) {
    return copy<Napi::Uint8Array>(env, values.data(), values.size());
}

}  // namespace grpo
