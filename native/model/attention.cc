#include "model/attention.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "device.h"
#include "kernels/row_ops.h"
#include "model/rows.h"

namespace grpo {
namespace {

/// By the kernel that decoding uses. Keeps x, since the memory of what it gives may be overwritten
/// with its gradient.
class Softcap : public torch::autograd::Function<Softcap> {
  public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              double cap) {
        context->save_for_backward({x});
        context->saved_data["cap"] = cap;
        return cpu::softcap(x, cap);
    }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        const double cap = context->saved_data["cap"].toDouble();
        const at::Tensor share = cpu::softcap(context->get_saved_variables()[0], cap).div_(cap);
        return {gradients[0] * (1 - share * share), {}};
    }
};

/// Whether a query at a position sees a key at another: [..] bool. A window of 0 is none.
at::Tensor sees(const at::Tensor& query, const at::Tensor& key, int64_t window) {
    const at::Tensor causal = key.le(query);
    return window == 0 ? causal : causal.logical_and(key.gt(query - window));
}

}  // namespace

Padding::Padding(const std::vector<int64_t>& lengths, at::Device device)
    : rows_(static_cast<int64_t>(lengths.size())) {
    for (const int64_t length : lengths) width_ = std::max(width_, length);
    dense_ = std::all_of(lengths.begin(), lengths.end(), [&](int64_t l) { return l == width_; });
    if (dense_) return;
    const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    std::vector<int64_t> to_padded(rows_ * width_, tokens), to_flat;
    for (int64_t row = 0; row < rows_; ++row) {
        for (int64_t t = 0; t < lengths[row]; ++t) {
            to_padded[row * width_ + t] = static_cast<int64_t>(to_flat.size());
            to_flat.push_back(row * width_ + t);
        }
    }
    to_padded_ = to_device(to_padded, device);
    to_flat_ = to_device(to_flat, device);
}

at::Tensor Padding::pad(const at::Tensor& flat) const {
    const at::Tensor padded = dense_ ? flat : repack_rows(flat, to_padded_, to_flat_);
    return padded.view({rows_, width_, flat.size(1), flat.size(2)}).transpose(1, 2);
}

at::Tensor Padding::unpad(const at::Tensor& padded) const {
    const int64_t channels = padded.size(1) * padded.size(3);
    const at::Tensor rows = padded.transpose(1, 2).reshape({rows_ * width_, channels});
    return dense_ ? rows : repack_rows(rows, to_flat_, to_padded_);
}

PackedAttention::PackedAttention(const ModelConfig& config, PackedLayout layout,
                                 at::ScalarType dtype, at::Device device, cpu::Storage storage)
    : config_(config),
      layout_(std::move(layout)),
      dtype_(dtype),
      device_(device),
      storage_(storage),
      prompt_tokens_(layout_.num_prompt_tokens()),
      completion_tokens_(layout_.num_completion_tokens()) {
    if (in_segments()) {
        segments_ = std::make_shared<Segments>(layout_, config.num_heads / config.num_kv_heads);
        return;
    }
    if (has_flash_attention(config, dtype, device)) {
        flash_ = std::make_shared<FlashSegments>(layout_, device);
        return;
    }
    prompts_ = Padding(layout_.prompt_lengths, device);
    if (completion_tokens_ == 0) return;
    completions_ = Padding(layout_.completion_lengths, device);
    prompt_of_ = to_device(layout_.prompt_of, device);
}

void PackedAttention::store_prompts(RolloutCache* cache, std::vector<PromptPart> prompts) {
    cache_ = cache;
    stored_ = std::move(prompts);
}

at::Tensor PackedAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v) {
    if (cache_ != nullptr) {
        cache_->store(layer, stored_, k.narrow(0, 0, prompt_tokens_),
                      v.narrow(0, 0, prompt_tokens_));
    }
    const int64_t window = config_.layers[layer].window;
    const AttentionTerms terms{config_.attention_scale, config_.attention_softcap, window,
                               storage_};
    if (segments_) return segment_attention(q, k, v, segments_, terms);
    if (flash_) return flash_attention(q, k, v, flash_, terms);
    return attend_padded(window, q, k, v);
}

bool PackedAttention::in_segments() const {
    // In float64 the padded form is computed: what the other is tested against.
    return device_.is_cpu() && dtype_ == at::kFloat;
}

at::Tensor PackedAttention::attend_padded(int64_t window, const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& v) {
    const at::Tensor prompt_k = prompts_.pad(k.narrow(0, 0, prompt_tokens_));  // [P, K, W, D]
    const at::Tensor prompt_v = prompts_.pad(v.narrow(0, 0, prompt_tokens_));
    const at::Tensor prompt_out =
        attend_prompts(window, q.narrow(0, 0, prompt_tokens_), prompt_k, prompt_v);  // [Np, H·D]
    if (completion_tokens_ == 0) return prompt_out;
    const at::Tensor completion_out =
        attend_completions(window, q.narrow(0, prompt_tokens_, completion_tokens_),
                           k.narrow(0, prompt_tokens_, completion_tokens_),
                           v.narrow(0, prompt_tokens_, completion_tokens_), prompt_k, prompt_v);
    return at::cat({prompt_out, completion_out});
}

at::Tensor PackedAttention::attend_prompts(int64_t window, const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v) {
    // Padding is on the right, so the causal mask already hides it from every real token.
    const bool plain =
        config_.attention_softcap == 0 && (window == 0 || window >= prompts_.width());
    return prompts_.unpad(
        product(prompts_.pad(q), k, v, plain ? at::Tensor() : prompt_mask(window)));
}

at::Tensor PackedAttention::attend_completions(int64_t window, const at::Tensor& q,
                                               const at::Tensor& k, const at::Tensor& v,
                                               const at::Tensor& prompt_k,
                                               const at::Tensor& prompt_v) {
    const auto keys = [&](const at::Tensor& prompt, const at::Tensor& own) {
        return at::cat({take_rows(prompt, prompt_of_), completions_.pad(own)}, 2);
    };  // [B, K, W + L, D]
    return completions_.unpad(product(completions_.pad(q), keys(prompt_k, k), keys(prompt_v, v),
                                      completion_mask(window)));
}

/// An undefined mask is the causal one.
at::Tensor PackedAttention::product(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                    const at::Tensor& mask) const {
    const int64_t heads = q.size(1);
    const at::Tensor keys = repeat_kv(k, heads), values = repeat_kv(v, heads);
    if (config_.attention_softcap == 0) {
        const std::optional<at::Tensor> given = mask.defined() ? std::optional(mask) : std::nullopt;
        return at::scaled_dot_product_attention(q, keys, values, given, 0.0,
                                                /*is_causal=*/!given, config_.attention_scale);
    }
    const at::Tensor scores = softcap(at::matmul(q, keys.transpose(2, 3)) * config_.attention_scale,
                                      config_.attention_softcap);
    const auto wide = at::promote_types(q.scalar_type(), at::kFloat);
    return at::matmul(at::softmax((scores + mask).to(wide), -1).to(q.scalar_type()), values);
}

const at::Tensor& PackedAttention::prompt_mask(int64_t window) {
    at::Tensor& mask = prompt_mask_[window];
    if (mask.defined()) return mask;
    const at::Tensor time =
        at::arange(prompts_.width(), at::TensorOptions().dtype(at::kLong).device(device_));
    return mask = additive_mask(sees(time.unsqueeze(1), time.unsqueeze(0), window), dtype_);
}

const at::Tensor& PackedAttention::completion_mask(int64_t window) {
    at::Tensor& mask = completion_mask_[window];
    if (mask.defined()) return mask;
    std::vector<int64_t> lengths;  // of each row's prompt
    for (const int64_t prompt : layout_.prompt_of) {
        lengths.push_back(layout_.prompt_lengths[prompt]);
    }
    const auto rows = static_cast<int64_t>(lengths.size());
    const int64_t prompt_width = prompts_.width(), width = completions_.width();
    const auto index = at::TensorOptions().dtype(at::kLong).device(device_);
    const at::Tensor prompt_length = to_device(lengths, device_).view({rows, 1, 1, 1});
    const at::Tensor time = at::arange(width, index);
    const at::Tensor query = time.view({1, 1, width, 1});
    const at::Tensor key = at::arange(prompt_width, index).view({1, 1, 1, prompt_width});
    at::Tensor in_prompt = key.lt(prompt_length).expand({rows, 1, width, prompt_width});
    if (window != 0) in_prompt = in_prompt.logical_and(key.gt(prompt_length + query - window));
    const at::Tensor own =
        sees(query, time.view({1, 1, 1, width}), window).expand({rows, 1, width, width});
    return mask = additive_mask(at::cat({in_prompt, own}, -1), dtype_);
}

at::Tensor additive_mask(const at::Tensor& visible, at::ScalarType dtype) {
    return at::zeros(visible.sizes(), visible.options().dtype(dtype))
        .masked_fill_(visible.bitwise_not(), -std::numeric_limits<double>::infinity());
}

at::Tensor softcap(const at::Tensor& scores, double cap) {
    if (cap == 0) return scores;
    return cpu::fits(scores) ? Softcap::apply(scores, cap) : at::tanh(scores / cap) * cap;
}

at::Tensor repeat_kv(const at::Tensor& x, int64_t num_heads) {
    const int64_t repeats = num_heads / x.size(1);
    if (repeats == 1) return x;
    return x.unsqueeze(2)
        .expand({x.size(0), x.size(1), repeats, x.size(2), x.size(3)})
        .reshape({x.size(0), num_heads, x.size(2), x.size(3)});
}

}  // namespace grpo
