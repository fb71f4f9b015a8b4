// The tensors of an adapter as leaves of autograd, in the order of the model. TypeScript lists them
// (lib/model/lora/adapter-tensors.ts); here each finds its module in the table, or is refused by
// name.
#pragma once

#include <vector>

#include "model_spec.h"
#include "module_table.h"
#include "optim/parameters.h"

namespace grpo {

/// Throws BAD_INPUT for a tensor that no module can carry, or that has another shape there.
std::vector<Parameters::Spec> adapter_layout(const AdapterSpec& spec, const ModuleTable& modules);

}  // namespace grpo
