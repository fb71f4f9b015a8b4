// The engine: one model, its adapter, its optimizer state, and the verbs on them. Knows tensors and
// token ids; knows nothing of Node, text, rewards or files beyond offsets. Not thread-safe: one
// thread calls it, see binding/job_queue.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch.h"
#include "device.h"
#include "model/decoder.h"
#include "optim/parameters.h"

namespace grpo {

enum class TensorSet { kModel, kAdapter, kOptimizer };

struct TensorInfo {
    std::string name;
    std::string dtype;
    std::vector<int64_t> shape;
};

/// True once the running job should end.
using Cancelled = std::function<bool()>;

class Engine {
  public:
    /// device: "cpu", "cuda", "cuda:0", "mps", "meta". dtype: "float32", "bfloat16", "float16",
    /// "float64".
    Engine(const ModelConfig& config, const std::string& device, const std::string& dtype);

    void load_model(const TensorTable& table);
    /// Normal(0, 0.02) matrices, ones for norms, zeros for biases: for tests and benchmarks.
    void init_model(uint64_t seed);
    /// Replaces the adapter and its optimizer state.
    void apply_lora(const LoraSpec& spec);
    /// Every tensor of the set must be in the table; step: optimizer steps taken (optimizer set
    /// only).
    void load_set(TensorSet set, const TensorTable& table, int64_t step);
    void save_set(TensorSet set, const std::string& path, const std::vector<uint8_t>& header,
                  const std::vector<std::string>& names) const;
    std::vector<TensorInfo> tensors(TensorSet set) const;
    int64_t optimizer_steps() const { return parameters_.steps; }

    void set_adapter_enabled(bool enabled) { adapter_enabled_ = enabled; }
    SampleStats sample(const SampleRequest& request, const Cancelled& cancelled,
                       SampleEvents events);
    std::vector<float> logprobs(const Batch& batch, double temperature, const Cancelled& cancelled);
    /// Logits of whole sequences, flat: [tokens · V].
    std::vector<float> forward(const std::vector<int32_t>& ids,
                               const std::vector<int32_t>& offsets);
    LossResult forward_backward(const TrainBatch& batch, const LossOptions& options,
                                const Cancelled& cancelled);
    /// Clips, steps, and clears the gradient, also when it was not finite and nothing was applied.
    StepResult optimizer_step(const AdamWOptions& options);
    void zero_grad() { parameters_.zero_grad(); }
    std::vector<std::pair<std::string, std::vector<float>>> gradients();

    int64_t syncs() const { return read_back_.count(); }

  private:
    std::vector<std::pair<std::string, at::Tensor>> set_tensors(TensorSet set) const;
    void check_ids(const std::vector<int32_t>& ids) const;
    void check_batch(const Batch& batch) const;
    void require_adapter() const;

    Decoder decoder_;
    Parameters parameters_;
    double dropout_ = 0;
    bool adapter_enabled_ = true;
    ReadBack read_back_;
};

/// A device that can be used now, e.g. {"cpu", 1}.
struct DeviceInfo {
    std::string type;
    int64_t count = 0;
};
std::vector<DeviceInfo> available_devices();

}  // namespace grpo
