// JavaScript values as C++ ones: `read` is there for every type that crosses, and structs are read
// by their `fields`. TypeScript has validated the values already; what is checked here keeps a
// foreign caller from corrupting memory. Throws BAD_INPUT, with the name of the value.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "batch.h"
#include "binding/checks.h"
#include "binding/napi_setup.h"
#include "error.h"
#include "fields.h"

namespace grpo {

/// A function of JavaScript's, to be called and freed on its thread only.
using JsFunction = std::shared_ptr<Napi::FunctionReference>;

void read(const Napi::Value& value, const std::string& name, bool& into);
void read(const Napi::Value& value, const std::string& name, double& into);
/// Whole numbers that a double holds exactly; the unsigned ones not below 0.
void read(const Napi::Value& value, const std::string& name, int64_t& into);
void read(const Napi::Value& value, const std::string& name, uint64_t& into);
void read(const Napi::Value& value, const std::string& name, std::string& into);
void read(const Napi::Value& value, const std::string& name, ByteString& into);
void read(const Napi::Value& value, const std::string& name, JsFunction& into);
/// Typed arrays, copied.
void read(const Napi::Value& value, const std::string& name, std::vector<int32_t>& into);
void read(const Napi::Value& value, const std::string& name, std::vector<float>& into);
void read(const Napi::Value& value, const std::string& name, std::vector<double>& into);
void read(const Napi::Value& value, const std::string& name, std::vector<uint8_t>& into);

/// The name of an enumerator.
template <typename Enum>
requires std::is_enum_v<Enum>
void read(const Napi::Value& value, const std::string& name, Enum& into) {
    std::string text;
    read(value, name, text);
    into = enumerator_of<Enum>(text, name);
}

template <HasFields Struct>
void read(const Napi::Value& value, const std::string& name, Struct& into);

inline bool is_absent(const Napi::Value& value) { return value.IsUndefined() || value.IsNull(); }

/// null and undefined: none.
template <typename T>
void read(const Napi::Value& value, const std::string& name, std::optional<T>& into) {
    if (is_absent(value)) {
        into.reset();
    } else {
        read(value, name, into.emplace());
    }
}

/// An ordinary array, element by element.
template <typename T>
void read(const Napi::Value& value, const std::string& name, std::vector<T>& into) {
    require(value.IsArray(), name + " must be an array");
    const auto array = value.As<Napi::Array>();
    into.clear();
    for (uint32_t i = 0; i < array.Length(); ++i)
        read(array.Get(i), "an element of " + name, into.emplace_back());
}

/// Visits the fields of a struct and fills each from the property of that name.
class FieldReader {
  public:
    explicit FieldReader(Napi::Object object) : object_(std::move(object)) {}

    template <typename T>
    void operator()(const char* name, T& member) {
        read(object_.Get(name), name, member);
    }
    /// null and undefined: the member stays as the struct begins with it.
    template <typename T>
    void optional(const char* name, T& member) {
        const Napi::Value value = object_.Get(name);
        if (!is_absent(value)) read(value, name, member);
    }

  private:
    Napi::Object object_;
};

template <HasFields Struct>
void read(const Napi::Value& value, const std::string& name, Struct& into) {
    require(value.IsObject(), name + " must be an object");
    FieldReader reader(value.As<Napi::Object>());
    Struct::fields(into, reader);
    check(into);
}

}  // namespace grpo
