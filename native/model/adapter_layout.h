// Which tensors an adapter has: those that its spec asks of the modules of a model, as leaves of
// autograd, in the order of the model.
#pragma once

#include <vector>

#include "batch.h"
#include "model/module_table.h"
#include "optim/parameters.h"

namespace grpo {

/// `tied`: the model's output layer has no weight of its own. Throws BAD_INPUT for a module that is
/// not there.
std::vector<Parameters::Spec> adapter_layout(const AdapterSpec& spec, const ModuleTable& modules,
                                             bool tied);

}  // namespace grpo
