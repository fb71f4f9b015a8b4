// Every C++ exception becomes a JavaScript Error with `code`, `message` and `hint`;
// lib/model/model.ts makes a GrpoError of it.
#pragma once

#include <exception>

#include "binding/napi_setup.h"

namespace grpo {

Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& exception);

/// Runs `body` and turns what it throws into a pending JavaScript exception.
template <typename F>
auto guarded(Napi::Env env, F body) -> decltype(body()) {
    try {
        return body();
    } catch (const Napi::Error&) {
        throw;
    } catch (...) {
        throw to_js_error(env, std::current_exception());
    }
}

}  // namespace grpo
