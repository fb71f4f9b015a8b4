// Functions for JavaScript out of C++ ones: the arguments are read as the types of the parameters,
// the result is converted back.
#pragma once

#include <string>
#include <tuple>
#include <type_traits>

#include "binding/errors.h"
#include "binding/from_js.h"
#include "binding/napi_setup.h"
#include "binding/to_js.h"

namespace grpo {

template <typename T>
T argument(const Napi::CallbackInfo& info, size_t index) {
    T value{};
    read(info[index], "argument " + std::to_string(index), value);
    return value;
}

/// The arguments of a call, each read as the type of its place.
template <typename... Types>
std::tuple<Types...> arguments(const Napi::CallbackInfo& info) {
    // Braces: read in the order of the places.
    return [&]<size_t... Index>(std::index_sequence<Index...>) {
        return std::tuple<Types...>{argument<Types>(info, Index)...};
    }
    (std::index_sequence_for<Types...>());
}

template <typename Body, typename Result, typename... Types>
Napi::Value call(const Napi::CallbackInfo& info, Result (Body::*)(Types...) const) {
    return to_js(info.Env(), std::apply(Body(), arguments<std::decay_t<Types>...>(info)));
}

/// `body` captures nothing: C++ makes it anew from its type at each call.
template <typename Body>
Napi::Function function_of(Napi::Env env, Body) {
    return Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
        return guarded(info.Env(), [&] { return call(info, &Body::operator()); });
    });
}

}  // namespace grpo
