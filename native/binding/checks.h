// What the engine relies on beyond the types, checked again where a struct comes in: sizes that
// agree, numbers in their range, offsets that stay inside their arrays. Each throws BAD_INPUT.
#pragma once

#include "batch.h"
#include "model_spec.h"
#include "train/losses/loss.h"

namespace grpo {

/// For structs whose types say all.
template <typename Struct>
void check(const Struct&) {}

void check(const ModelConfig& config);
/// Throws by the name of the module where the table does not have the sizes that the numbers say.
void check_modules(const ModelConfig& config);
void check(const AdapterSpec& spec);
void check(const Drawing& drawing);
void check(const SampleRequest& request);
void check(const StreamRequest& request);
void check(const Batch& batch);
void check(const TrainBatch& batch);
void check(const LossOptions& options);

}  // namespace grpo
