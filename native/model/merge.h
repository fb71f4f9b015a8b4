// An adapter written into the weights: W' = W + sBA, with DoRA c (W + sBA), and what it trains in
// full in place of the base's. Rounded where PEFT's merge rounds.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "model/adapter.h"
#include "model/base_model.h"

namespace grpo {

/// Tensors that the adapter changes, by checkpoint name, each with the function that makes the
/// merged tensor of the present one, in its dtype. safe: the update is rounded to that dtype before
/// it is added (PEFT's safe_merge).
using MergeSteps =
    std::vector<std::pair<std::string, std::function<at::Tensor(const at::Tensor& weight)>>>;
MergeSteps merge_steps(const Adapter& adapter, const BaseModel& base, bool safe);

/// After merging, embedding and output layer of a tied model are no longer equal.
bool merging_unties(const Adapter& adapter, const BaseModel& base);

}  // namespace grpo
