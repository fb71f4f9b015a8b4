#include "train/train.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "error.h"
#include "random.h"
#include "train/micro_batch.h"

namespace grpo {
namespace {

using Cancelled = std::function<bool()>;

/// Gradients of an adapter beside its own, for as many threads as may compute side by side.
constexpr int64_t kCopiesBytes = int64_t{64} << 20;

/// Calls `visit(input, index, lane)` with every packed micro-batch that has something to score;
/// lanes run side by side, each on one thread. Which micro-batch goes to which lane depends on
/// nothing but the arguments.
class MicroBatches {
  public:
    MicroBatches(const Batch& batch, int64_t max_tokens, int64_t threads, at::Device device,
                 const Cancelled& cancelled)
        : batch_(batch),
          lanes_(plan_lanes(batch, max_tokens, threads)),
          device_(device),
          cancelled_(cancelled) {}

    size_t lanes() const { return lanes_.size(); }
    size_t count() const {
        size_t count = 0;
        for (const auto& lane : lanes_) count += lane.size();
        return count;
    }

    template <typename F>
    void each(const F& visit) const {
        if (lanes_.size() == 1) return run(0, visit);
        const bool grad = c10::GradMode::is_enabled(), inference = c10::InferenceMode::is_enabled();
        at::parallel_for(0, static_cast<int64_t>(lanes_.size()), 1,
                         [&](int64_t begin, int64_t end) {
                             const c10::InferenceMode inference_guard(inference);
                             const at::AutoGradMode grad_guard(grad);
                             for (int64_t lane = begin; lane < end; ++lane) run(lane, visit);
                         });
    }

  private:
    template <typename F>
    void run(size_t lane, const F& visit) const {
        for (const MicroBatch& part : lanes_[lane]) {
            if (cancelled_()) throw EngineError("CANCELLED", "the job was cancelled");
            visit(pack_rows(batch_, part, device_), part.index, lane);
        }
    }

    const Batch& batch_;
    std::vector<std::vector<MicroBatch>> lanes_;
    at::Device device_;
    const Cancelled& cancelled_;
};

int64_t cpu_threads(const Decoder& decoder) {
    return decoder.device().is_cpu() ? at::get_num_threads() : 1;
}

/// An independent generator of dropout masks, a function of the seed and the micro-batch.
ForwardMode training_mode(const Adapter& adapter, uint64_t seed, uint64_t micro_batch,
                          at::Device device) {
    ForwardMode mode;
    mode.adapter = &adapter;
    mode.dropout = adapter.dropout();
    if (mode.dropout > 0 && !device.is_meta()) {
        const auto key = philox({static_cast<uint32_t>(micro_batch), 0, 0, 0x64726f70u}, seed);
        mode.generator = at::globalContext().defaultGenerator(device).clone();
        mode.generator->set_current_seed((uint64_t{key[0]} << 32) | key[1]);
    }
    return mode;
}

/// Threads that may compute side by side: each but the first needs a gradient of its own.
int64_t side_by_side(const Decoder& decoder, const Adapter& adapter) {
    const int64_t threads = cpu_threads(decoder);
    const auto bytes = static_cast<int64_t>(adapter.parameters.values.nbytes());
    return 2 * bytes * (threads - 1) <= kCopiesBytes ? threads : 1;
}

/// One batch on its way through the model and the loss.
class LossPass {
  public:
    LossPass(const Decoder& decoder, const Adapter& adapter, const Batch& batch,
             const PassOptions& options, Loss& loss, const Cancelled& cancelled)
        : decoder_(decoder),
          adapter_(adapter),
          options_(options),
          loss_(loss),
          micro_batches_(batch, options.max_tokens_per_micro_batch, side_by_side(decoder, adapter),
                         decoder.device(), cancelled) {}

    int64_t run() {
        const auto count = static_cast<int64_t>(micro_batches_.count());
        if (count > 0 && loss_.needs_entropies()) loss_.prepare(entropies());
        // Autograd adds to the leaves' gradients, so every lane has leaves of its own.
        std::vector<std::unique_ptr<Adapter>> copies;
        for (size_t lane = 1; lane < micro_batches_.lanes(); ++lane) {
            copies.push_back(adapter_.copy(decoder_.base()));
            copies.back()->parameters.need_gradient();
        }
        micro_batches_.each([&](const PackedInput& input, int64_t index, size_t lane) {
            ForwardMode forward = mode(lane == 0 ? adapter_ : *copies[lane - 1], index);
            forward.recompute = options_.gradient_checkpointing;
            const at::Tensor normed = predict_hidden(decoder_, input, forward);  // [n, C]
            const at::Tensor gradient = output_gradient(input, normed.detach(), forward);
            // Nothing below the output layer may be trained.
            if (normed.requires_grad()) torch::autograd::backward({normed}, {gradient});
        });
        // In the order of lanes, whichever was ready first.
        at::Tensor sum = adapter_.parameters.gradient;
        for (const auto& copy : copies) sum.add_(copy->parameters.gradient);
        return count;
    }

  private:
    ForwardMode mode(const Adapter& adapter, int64_t micro_batch) const {
        return training_mode(adapter, options_.dropout_seed, micro_batch, decoder_.device());
    }

    /// The entropy of all tokens, by a pass of its own.
    at::Tensor entropies() const {
        const c10::NoGradGuard no_grad;
        std::vector<at::Tensor> pieces(micro_batches_.count());
        micro_batches_.each([&](const PackedInput& input, int64_t index, size_t) {
            const ForwardMode forward = mode(adapter_, index);
            const at::Tensor normed = predict_hidden(decoder_, input, forward);
            pieces[index] =
                score_tokens(decoder_, normed, input.targets, options_.temperature, forward)
                    .entropy;
        });
        return at::cat(pieces);
    }

    /// dloss/dnormed of one micro-batch. A loss whose tokens depend on each other passes the output
    /// layer twice: for the scores of whole completions, and for the gradient that follows.
    at::Tensor output_gradient(const PackedInput& input, const at::Tensor& normed,
                               const ForwardMode& mode) const {
        const auto through_output = [&](const auto& derivative) {
            return backward_through_output(decoder_, normed, input.targets, options_.temperature,
                                           mode, loss_.needs_top1(), derivative);
        };
        if (!loss_.needs_whole_completions()) {
            return through_output([&](int64_t start, const TokenScores& scores) {
                return loss_.differentiate(input.first_token + start, scores, nullptr);
            });
        }
        const Completions completions(input.scored_lengths, decoder_.device());
        // The second pass must meet the first one's dropout masks.
        at::Tensor state;
        if (mode.generator) state = mode.generator->get_state();
        const ScoreGradient all = loss_.differentiate(
            input.first_token,
            score_tokens(decoder_, normed, input.targets, options_.temperature, mode),
            &completions);
        if (mode.generator) at::Generator(*mode.generator).set_state(state);
        return through_output([&](int64_t start, const TokenScores& scores) {
            const int64_t n = scores.logprobs.size(0);
            return ScoreGradient{
                all.logprobs.narrow(0, start, n),
                all.entropy.defined() ? all.entropy.narrow(0, start, n) : at::Tensor()};
        });
    }

    const Decoder& decoder_;
    const Adapter& adapter_;
    const PassOptions& options_;
    Loss& loss_;
    const MicroBatches micro_batches_;
};

}  // namespace

int64_t backward(const Decoder& decoder, const Adapter& adapter, const Batch& batch,
                 const PassOptions& options, Loss& loss, const Cancelled& cancelled) {
    return LossPass(decoder, adapter, batch, options, loss, cancelled).run();
}

int64_t evaluate(const Decoder& decoder, const ForwardMode& mode, const Batch& batch,
                 const PassOptions& options, Loss& loss, const Cancelled& cancelled) {
    const c10::InferenceMode inference;
    const MicroBatches micro_batches(batch, options.max_tokens_per_micro_batch,
                                     cpu_threads(decoder), decoder.device(), cancelled);
    micro_batches.each([&](const PackedInput& input, int64_t, size_t) {
        const at::Tensor normed = predict_hidden(decoder, input, mode);
        const TokenScores scores = score_tokens(decoder, normed, input.targets, options.temperature,
                                                mode, loss.needs_top1());
        loss.differentiate(input.first_token, scores, nullptr);
    });
    return static_cast<int64_t>(micro_batches.count());
}

std::vector<float> completion_logprobs(const Decoder& decoder, const Batch& batch,
                                       double temperature, int64_t max_tokens,
                                       const ForwardMode& mode, ReadBack& read_back,
                                       const Cancelled& cancelled) {
    const c10::InferenceMode inference;
    const MicroBatches micro_batches(batch, max_tokens, cpu_threads(decoder), decoder.device(),
                                     cancelled);
    std::vector<at::Tensor> pieces(micro_batches.count());
    micro_batches.each([&](const PackedInput& input, int64_t index, size_t) {
        const at::Tensor normed = predict_hidden(decoder, input, mode);
        pieces[index] = score_tokens(decoder, normed, input.targets, temperature, mode).logprobs;
    });
    if (pieces.empty()) return {};
    return read_back.operator()<float>(at::cat(pieces));
}

}  // namespace grpo
