// The engine: one model with all its weights (weights.h), and the verbs that compute with them.
// Knows tensors and token ids; knows nothing of Node, text, rewards or files beyond offsets. Not
// thread-safe: one thread calls it, see binding/job_queue.h.
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
#include "distributed/group.h"
#include "model/block_pool.h"
#include "model/prefix_index.h"
#include "model_spec.h"
#include "op_counter.h"
#include "optim/optimizer.h"
#include "rollout/rollout.h"
#include "rollout/stream_inbox.h"
#include "train/losses/loss.h"
#include "train/losses/sft_loss.h"
#include "weights.h"

namespace grpo {

/// True once the running job should end.
using Cancelled = std::function<bool()>;

class Engine {
  public:
    /// device: "cpu", "cuda", "cuda:0", "mps", "meta". dtype: "float32", "bfloat16", "float16",
    /// "float64".
    Engine(const ModelConfig& config, const std::string& device, const std::string& dtype);

    Weights& weights() { return weights_; }
    at::Device device() const { return decoder_.device(); }

    SampleStats sample(const SampleRequest& request, const Cancelled& cancelled,
                       SampleEvents events);
    /// Throws BAD_INPUT for what stream() cannot take. Any thread.
    void check_stream(const StreamRequest& request) const;
    /// Runs a batch that prompts enter and leave, until there is none. Sequences are remembered for
    /// those that come later, until the weights change.
    SampleStats stream(const StreamOptions& options, const Cancelled& cancelled,
                       SampleEvents events);
    /// Of the batch or rollout that runs, or of the next. Any thread.
    StreamInbox& inbox() { return inbox_; }
    /// Under the policy, or under the reference.
    std::vector<float> logprobs(const Batch& batch, double temperature, bool reference,
                                const Cancelled& cancelled);
    /// Logits of whole sequences, flat: [tokens · V], of a classifier [tokens · labels].
    std::vector<float> forward(const std::vector<int32_t>& ids,
                               const std::vector<int32_t>& offsets);
    LossResult forward_backward(const TrainBatch& batch, const LossOptions& options,
                                const Cancelled& cancelled);
    SftResult sft_forward_backward(const SftBatch& batch, const SftOptions& options,
                                   const Cancelled& cancelled);
    SftResult sft_evaluate(const SftBatch& batch, const SftOptions& options,
                           const Cancelled& cancelled);
    /// Clips, steps, and clears the gradient, also when it was not finite and nothing was applied.
    /// Among ranks the gradient is their sum.
    StepResult optimizer_step(const OptimizerOptions& options, const Cancelled& cancelled);
    void zero_grad();
    std::vector<std::pair<std::string, std::vector<float>>> gradients();

    /// From here on this engine trains together with those of the other ranks.
    void join_ranks(const RankOptions& options);
    /// Throws BAD_INPUT outside a group.
    RankGroup& ranks();
    /// What is trained is as rank 0 has it.
    void share_values(const Cancelled& cancelled);
    /// `reason`: for the other ranks; "": the run is over.
    void leave_ranks(const std::string& reason);

    EngineMemory memory() const;
    /// Counts operators from here on, or no more; returns what was counted up to here.
    OperatorCounts count_operators(bool count);
    int64_t syncs() const { return read_back_.count(); }

  private:
    void check_ids(const std::vector<int32_t>& ids) const;
    /// Throws BAD_INPUT for a classifier, whose output is no distribution over tokens.
    void check_language_model() const;
    void check_batch(const Batch& batch) const;
    void check_sft(const SftBatch& batch, const SftOptions& options) const;
    void check_drawing(const Drawing& drawing) const;
    void check_prompt(const std::string& name, int64_t length, int64_t max_new_tokens) const;
    ForwardMode policy() const;
    std::unique_ptr<Decoding> decoding_of(const ForwardMode& mode, const RolloutRoom& room,
                                          bool plain, bool record, BlockPool& pool,
                                          PrefixIndex* index);

    /// What constrained completions wait for in the inbox.
    Allowed allowed(const Cancelled& cancelled);

    /// Keys and values that are remembered.
    struct Sequences {
        Sequences(const ModelConfig& config, cpu::Storage storage, int64_t most_bytes,
                  uint64_t of_version)
            : pool(config, storage),
              index(pool, most_bytes / pool.block_bytes()),
              bytes(most_bytes),
              version(of_version) {}
        BlockPool pool;
        PrefixIndex index;
        int64_t bytes;
        uint64_t version;  // of the weights
    };
    Sequences& sequences(int64_t bytes);

    Weights weights_;
    const Decoder& decoder_;
    ReadBack read_back_;
    std::unique_ptr<OperatorCounter> counter_;
    std::unique_ptr<Sequences> sequences_;
    StreamInbox inbox_;
    std::unique_ptr<RankGroup> group_;  // none: alone
};

/// A device that can be used now, e.g. {"cpu", 1}.
struct DeviceInfo {
    std::string type;
    int64_t count = 0;

    static void fields(auto& self, auto& field) {
        field("type", self.type);
        field("count", self.count);
    }
};
std::vector<DeviceInfo> available_devices();

/// Adds two numbers there. Throws DEVICE_UNAVAILABLE, with what the device says, where it cannot: a
/// card that libtorch sees may be too old for its kernels, or taken by another process.
void try_device(const std::string& name);

}  // namespace grpo
