// The JavaScript class Engine; lib/native/native.ts is its typed mirror.
#pragma once

#include "binding/napi_setup.h"

namespace grpo {

/// The constructor: new Engine({ config, device, dtype, threads }).
Napi::Function define_engine(Napi::Env env);

}  // namespace grpo
