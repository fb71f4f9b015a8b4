// Parts of the engine by themselves, and the boundary's own reading and writing: for tests.
#pragma once

#include "binding/napi_setup.h"

namespace grpo {

/// lossAndGradient, multiplyMatrices, samplingProbabilities, limits and echo.
void export_for_tests(Napi::Env env, Napi::Object exports);

}  // namespace grpo
