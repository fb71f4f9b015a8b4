// Tensors of a set as they were at one moment, copied to host memory, and their way into a file on
// a thread of libuv's: the disk may be slow, and the engine goes on meanwhile.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "binding/napi_setup.h"

namespace grpo {

struct Snapshot {
    std::vector<at::Tensor> tensors;
    bool written = false;  // or on its way: the tensors are gone
};

/// { bytes, write(file, header): Promise<void> }; the copies are freed once they are written.
Napi::Value to_js(Napi::Env env, const std::shared_ptr<Snapshot>& snapshot);

}  // namespace grpo
