#include "model/flash_attention.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <numeric>

#include "device.h"
#include "error.h"
#include "model/rows.h"

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kLargestHead = 256;
constexpr int64_t kHeadMultiple = 8;

/// Lengths to the places where sequences begin, and where the last one ends.
at::Tensor starts_of(const std::vector<int64_t>& lengths, at::Device device) {
    std::vector<int32_t> starts{0};
    for (const int64_t length : lengths)
        starts.push_back(starts.back() + static_cast<int32_t>(length));
    return to_device(starts, device);
}

FlashRun run_of(const std::vector<int64_t>& queries, const std::vector<int64_t>& keys,
                at::Device device) {
    return {.query_starts = starts_of(queries, device),
            .key_starts = starts_of(keys, device),
            .longest_query = *std::max_element(queries.begin(), queries.end()),
            .longest_key = *std::max_element(keys.begin(), keys.end())};
}

struct Attended {
    at::Tensor out;                   // [N, H, D]
    at::Tensor log_sum;               // [H, N] fp32
    at::Tensor random_state, unused;  // that the backward wants, though nothing is dropped
};

/// What one call of the kernels computes.
struct FlashCall {
    const FlashRun& run;
    bool causal;
    double scale;
    int64_t window;  // 0: all

    std::optional<int64_t> left() const {
        return window == 0 ? std::nullopt : std::optional<int64_t>(window - 1);
    }
    std::optional<int64_t> right() const {
        return window == 0 ? std::nullopt : std::optional<int64_t>(0);
    }
};

Attended attend(const FlashCall& call, const at::Tensor& q, const at::Tensor& k,
                const at::Tensor& v) {
    const FlashRun& run = call.run;
    auto [out, log_sum, random_state, unused, mask] = at::_flash_attention_forward(
        q, k, v, run.query_starts, run.key_starts, run.longest_query, run.longest_key,
        /*dropout_p=*/0, call.causal, /*return_debug_mask=*/false, call.scale, call.left(),
        call.right());
    return {out, log_sum, random_state, unused};
}

struct Gradients {
    at::Tensor q, k, v;
};

Gradients attend_backward(const FlashCall& call, const at::Tensor& dout, const at::Tensor& q,
                          const at::Tensor& k, const at::Tensor& v, const Attended& all) {
    const FlashRun& run = call.run;
    auto [dq, dk, dv] = at::_flash_attention_backward(
        dout, q, k, v, all.out, all.log_sum, run.query_starts, run.key_starts, run.longest_query,
        run.longest_key, /*dropout_p=*/0, call.causal, all.random_state, all.unused, call.scale,
        call.left(), call.right());
    return {dq, dk, dv};
}

struct Saved : torch::CustomClassHolder {
    std::shared_ptr<const FlashSegments> segments;
    AttentionTerms terms;

    /// With a window the keys are those of `whole`.
    FlashCall own() const {
        return {terms.window == 0 ? segments->own : segments->whole, true, terms.scale,
                terms.window};
    }
    bool shares() const { return terms.window == 0 && segments->shared.query_starts.defined(); }
    FlashCall shared() const { return {segments->shared, false, terms.scale, 0}; }
    at::Tensor prompts(const at::Tensor& x) const {
        return x.narrow(0, 0, segments->prompt_tokens);
    }
    at::Tensor completions(const at::Tensor& x, int64_t dimension = 0) const {
        return x.narrow(dimension, segments->prompt_tokens,
                        x.size(dimension) - segments->prompt_tokens);
    }
};

/// Adds what the completions see of their prompts to what they see of themselves.
void merge(const Saved& call, const Attended& own, const Attended& shared) {
    const at::Tensor out = call.completions(own.out), log_sum = call.completions(own.log_sum, 1);
    const at::Tensor share = at::sigmoid(shared.log_sum - log_sum).t().unsqueeze(-1);  // [Nc, H, 1]
    out.copy_(at::lerp(out.to(at::kFloat), shared.out.to(at::kFloat), share));
    log_sum.copy_(at::logaddexp(log_sum, shared.log_sum));
}

Attended attend_all(const Saved& call, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v) {
    Attended own = attend(call.own(), q, k, v);
    if (call.shares()) {
        merge(call, own,
              attend(call.shared(), call.completions(q), call.prompts(k), call.prompts(v)));
    }
    return own;
}

class FlashAttention : public torch::autograd::Function<FlashAttention> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const c10::intrusive_ptr<Saved>& call) {
        const Attended all = attend_all(*call, q, k, v);
        context->save_for_backward({q, k, v, all.out, all.log_sum, all.random_state, all.unused});
        context->saved_data["call"] = c10::IValue::make_capsule(call);
        return all.out;
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto capsule = context->saved_data["call"].toCapsule();
        const auto& call = *static_cast<const Saved*>(capsule.get());
        const auto saved = context->get_saved_variables();
        const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
        const Attended all{saved[3], saved[4], saved[5], saved[6]};
        const at::Tensor dout = gradients[0].contiguous();
        const Gradients own = attend_backward(call.own(), dout, q, k, v, all);
        if (call.shares()) {
            const Attended part{call.completions(all.out),
                                call.completions(all.log_sum, 1).contiguous(), all.random_state,
                                all.unused};
            const Gradients shared =
                attend_backward(call.shared(), call.completions(dout), call.completions(q),
                                call.prompts(k), call.prompts(v), part);
            call.completions(own.q).add_(shared.q);
            call.prompts(own.k).add_(shared.k);
            call.prompts(own.v).add_(shared.v);
        }
        return {own.q, own.k, own.v, {}};
    }
};

}  // namespace

bool has_flash_attention(const ModelConfig& config, at::ScalarType dtype, at::Device device) {
    const bool halves = dtype == at::kBFloat16 || dtype == at::kHalf;
    return halves && has_fused_kernels(device) && config.attention_softcap == 0 &&
           config.head_dim <= kLargestHead && config.head_dim % kHeadMultiple == 0;
}

FlashSegments::FlashSegments(const PackedLayout& layout, at::Device device)
    : prompt_tokens(layout.num_prompt_tokens()) {
    require(std::is_sorted(layout.prompt_of.begin(), layout.prompt_of.end()),
            "completions must come in the order of their prompts");
    std::vector<int64_t> prompt_starts(layout.prompt_lengths.size(), 0);
    std::partial_sum(layout.prompt_lengths.begin(), std::prev(layout.prompt_lengths.end()),
                     std::next(prompt_starts.begin()));
    std::vector<int64_t> lengths = layout.prompt_lengths, whole_lengths = lengths;
    std::vector<int64_t> groups(lengths.size(), 0), keys(prompt_tokens);
    std::iota(keys.begin(), keys.end(), 0);
    const auto add_keys = [&](int64_t start, int64_t count) {
        for (int64_t t = start; t < start + count; ++t) keys.push_back(t);
    };
    int64_t start = prompt_tokens;
    for (size_t row = 0; row < layout.completion_lengths.size(); ++row) {
        const int64_t length = layout.completion_lengths[row], prompt = layout.prompt_of[row];
        if (length == 0) continue;
        lengths.push_back(length);
        groups[prompt] += length;
        whole_lengths.push_back(layout.prompt_lengths[prompt] + length);
        add_keys(prompt_starts[prompt], layout.prompt_lengths[prompt]);
        add_keys(start, length);
        start += length;
    }
    own = run_of(lengths, lengths, device);
    if (start == prompt_tokens) {
        whole = own;
        return;
    }
    shared = run_of(groups, layout.prompt_lengths, device);
    whole = run_of(lengths, whole_lengths, device);
    whole_keys = to_device(keys, device);
}

at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const std::shared_ptr<const FlashSegments>& segments,
                           const AttentionTerms& terms) {
    auto call = c10::make_intrusive<Saved>();
    call->segments = segments;
    call->terms = terms;
    if (terms.window >= segments->whole.longest_key) call->terms.window = 0;
    const bool copies = call->terms.window != 0 && segments->whole_keys.defined();
    const at::Tensor keys = copies ? take_rows(k, segments->whole_keys) : k;
    const at::Tensor values = copies ? take_rows(v, segments->whole_keys) : v;
    const at::Tensor out = c10::GradMode::is_enabled()
                               ? FlashAttention::apply(q, keys, values, call)
                               : attend_all(*call, q, keys, values).out;
    return out.view({q.size(0), -1});
}

}  // namespace grpo
