#include "binding/from_js.h"

#include <cmath>

namespace grpo {
namespace {

// Beyond it neighbouring whole numbers are one double.
constexpr double kLargestInteger = 9007199254740991;

double whole_number(const Napi::Value& value, const std::string& name) {
    double number = 0;
    read(value, name, number);
    require(std::trunc(number) == number && std::abs(number) <= kLargestInteger,
            name + " must be a whole number");
    return number;
}

template <typename Element>
void read_typed(const Napi::Value& value, const std::string& name, napi_typedarray_type type,
                std::vector<Element>& into) {
    const bool matches =
        value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
    require(matches, name + " must be a typed array of the declared type");
    const auto array = value.As<Napi::TypedArrayOf<Element>>();
    into.assign(array.Data(), array.Data() + array.ElementLength());
}

}  // namespace

void read(const Napi::Value& value, const std::string& name, bool& into) {
    require(value.IsBoolean(), name + " must be a boolean");
    into = value.As<Napi::Boolean>();
}

void read(const Napi::Value& value, const std::string& name, double& into) {
    require(value.IsNumber(), name + " must be a number");
    into = value.As<Napi::Number>().DoubleValue();
}

void read(const Napi::Value& value, const std::string& name, int64_t& into) {
    into = static_cast<int64_t>(whole_number(value, name));
}

void read(const Napi::Value& value, const std::string& name, uint64_t& into) {
    const double number = whole_number(value, name);
    require(number >= 0, name + " must not be negative");
    into = static_cast<uint64_t>(number);
}

void read(const Napi::Value& value, const std::string& name, std::string& into) {
    require(value.IsString(), name + " must be a string");
    into = value.As<Napi::String>();
}

void read(const Napi::Value& value, const std::string& name, ByteString& into) {
    std::vector<uint8_t> bytes;
    read(value, name, bytes);
    into.assign(bytes.begin(), bytes.end());
}

void read(const Napi::Value& value, const std::string& name, JsFunction& into) {
    require(value.IsFunction(), name + " must be a function");
    into = std::make_shared<Napi::FunctionReference>(Napi::Persistent(value.As<Napi::Function>()));
}

void read(const Napi::Value& value, const std::string& name, std::vector<int32_t>& into) {
    read_typed(value, name, napi_int32_array, into);
}

void read(const Napi::Value& value, const std::string& name, std::vector<float>& into) {
    read_typed(value, name, napi_float32_array, into);
}

void read(const Napi::Value& value, const std::string& name, std::vector<double>& into) {
    read_typed(value, name, napi_float64_array, into);
}

void read(const Napi::Value& value, const std::string& name, std::vector<uint8_t>& into) {
    read_typed(value, name, napi_uint8_array, into);
}

}  // namespace grpo
