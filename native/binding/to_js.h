// The way back: `to_js` is there for every type that crosses; structs become objects by their
// `fields`.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "batch.h"
#include "binding/napi_setup.h"
#include "fields.h"

namespace grpo {

Napi::Value to_js(Napi::Env env, bool value);
Napi::Value to_js(Napi::Env env, double value);
Napi::Value to_js(Napi::Env env, int64_t value);
Napi::Value to_js(Napi::Env env, uint64_t value);
Napi::Value to_js(Napi::Env env, const std::string& value);
Napi::Value to_js(Napi::Env env, const ByteString& value);
/// Typed arrays, copied.
Napi::Value to_js(Napi::Env env, const std::vector<int32_t>& values);
Napi::Value to_js(Napi::Env env, const std::vector<float>& values);
Napi::Value to_js(Napi::Env env, const std::vector<double>& values);
Napi::Value to_js(Napi::Env env, const std::vector<uint8_t>& values);

/// The name of the enumerator.
template <typename Enum>
requires std::is_enum_v<Enum> Napi::Value to_js(Napi::Env env, Enum value) {
    return to_js(env, name_of(value));
}

template <HasFields Struct>
Napi::Value to_js(Napi::Env env, const Struct& value);

/// None: null.
template <typename T>
Napi::Value to_js(Napi::Env env, const std::optional<T>& value) {
    return value ? to_js(env, *value) : env.Null();
}

/// An ordinary array.
template <typename T>
Napi::Value to_js(Napi::Env env, const std::vector<T>& values) {
    Napi::Array array = Napi::Array::New(env, values.size());
    for (uint32_t i = 0; i < values.size(); ++i) array.Set(i, to_js(env, values[i]));
    return array;
}

/// An object with the names as keys.
template <typename T>
Napi::Value to_js(Napi::Env env, const std::vector<std::pair<std::string, T>>& entries) {
    Napi::Object object = Napi::Object::New(env);
    for (const auto& [name, value] : entries) object.Set(name, to_js(env, value));
    return object;
}

template <typename T>
Napi::Value to_js(Napi::Env env, const std::map<std::string, T>& entries) {
    Napi::Object object = Napi::Object::New(env);
    for (const auto& [name, value] : entries) object.Set(name, to_js(env, value));
    return object;
}

/// Visits the fields of a struct and sets the property of that name to each.
class FieldWriter {
  public:
    explicit FieldWriter(Napi::Env env) : env_(env), object_(Napi::Object::New(env)) {}
    const Napi::Object& object() const { return object_; }

    template <typename T>
    void operator()(const char* name, const T& member) {
        object_.Set(name, to_js(env_, member));
    }
    template <typename T>
    void optional(const char* name, const T& member) {
        (*this)(name, member);
    }

  private:
    Napi::Env env_;
    Napi::Object object_;
};

template <HasFields Struct>
Napi::Value to_js(Napi::Env env, const Struct& value) {
    FieldWriter writer(env);
    Struct::fields(value, writer);
    return writer.object();
}

}  // namespace grpo
