#include "model/attention.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "device.h"
#include "model/kv_cache.h"
#include "model/rows.h"

namespace grpo {
namespace {

int64_t sum(const std::vector<int64_t>& values) {
    return std::accumulate(values.begin(), values.end(), int64_t{0});
}

/// 0 where completion row b at time t may look, -inf elsewhere: [B, 1, L, W + L], where the first W
/// keys are the prompt's.
at::Tensor completion_mask(const PackedLayout& layout, int64_t prompt_width, int64_t width,
                           at::ScalarType dtype, at::Device device) {
    std::vector<int64_t> prompt_lengths;  // of each row's prompt
    for (const int64_t prompt : layout.prompt_of) {
        prompt_lengths.push_back(layout.prompt_lengths[prompt]);
    }
    const auto rows = static_cast<int64_t>(prompt_lengths.size());
    const auto index = at::TensorOptions().dtype(at::kLong).device(device);
    const at::Tensor key = at::arange(prompt_width, index).view({1, 1, 1, prompt_width});
    const at::Tensor in_prompt = key.lt(to_device(prompt_lengths, device).view({rows, 1, 1, 1}))
                                     .expand({rows, 1, width, prompt_width});
    const at::Tensor time = at::arange(width, index);
    const at::Tensor causal =
        time.view({1, 1, 1, width}).le(time.view({1, 1, width, 1})).expand({rows, 1, width, width});
    const at::Tensor visible = at::cat({in_prompt, causal}, -1);
    return at::zeros(visible.sizes(), at::TensorOptions().dtype(dtype).device(device))
        .masked_fill_(visible.bitwise_not(), -std::numeric_limits<double>::infinity());
}

}  // namespace

int64_t PackedLayout::num_prompt_tokens() const { return sum(prompt_lengths); }
int64_t PackedLayout::num_completion_tokens() const { return sum(completion_lengths); }

std::vector<int64_t> PackedLayout::positions() const {
    std::vector<int64_t> positions;
    positions.reserve(num_prompt_tokens() + num_completion_tokens());
    for (const int64_t length : prompt_lengths) {
        for (int64_t t = 0; t < length; ++t) positions.push_back(t);
    }
    for (size_t b = 0; b < completion_lengths.size(); ++b) {
        const int64_t start = prompt_lengths[prompt_of[b]];
        for (int64_t t = 0; t < completion_lengths[b]; ++t) positions.push_back(start + t);
    }
    return positions;
}

Padding::Padding(const std::vector<int64_t>& lengths, at::Device device)
    : rows_(static_cast<int64_t>(lengths.size())) {
    for (const int64_t length : lengths) width_ = std::max(width_, length);
    dense_ = std::all_of(lengths.begin(), lengths.end(), [&](int64_t l) { return l == width_; });
    if (dense_) return;
    std::vector<int64_t> to_padded(rows_ * width_, sum(lengths)), to_flat;
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

PackedAttention::PackedAttention(const PackedLayout& layout, at::ScalarType dtype,
                                 at::Device device)
    : prompt_tokens_(layout.num_prompt_tokens()),
      completion_tokens_(layout.num_completion_tokens()),
      prompts_(layout.prompt_lengths, device) {
    if (completion_tokens_ == 0) return;
    completions_ = Padding(layout.completion_lengths, device);
    prompt_of_ = to_device(layout.prompt_of, device);
    mask_ = completion_mask(layout, prompts_.width(), completions_.width(), dtype, device);
}

void PackedAttention::store_prompts(KvCache* cache, std::vector<int64_t> slots) {
    cache_ = cache;
    slots_ = std::move(slots);
}

at::Tensor PackedAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v) {
    const at::Tensor prompt_k = prompts_.pad(k.narrow(0, 0, prompt_tokens_));  // [P, K, W, D]
    const at::Tensor prompt_v = prompts_.pad(v.narrow(0, 0, prompt_tokens_));
    if (cache_ != nullptr) cache_->store_prompts(layer, slots_, prompt_k, prompt_v);
    const at::Tensor prompt_out =
        attend_prompts(q.narrow(0, 0, prompt_tokens_), prompt_k, prompt_v);  // [Np, H·D]
    if (completion_tokens_ == 0) return prompt_out;
    const at::Tensor completion_out =
        attend_completions(q.narrow(0, prompt_tokens_, completion_tokens_),
                           k.narrow(0, prompt_tokens_, completion_tokens_),
                           v.narrow(0, prompt_tokens_, completion_tokens_), prompt_k, prompt_v);
    return at::cat({prompt_out, completion_out});
}

at::Tensor PackedAttention::attend_prompts(const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v) const {
    // Padding is on the right, so the causal mask already hides it from every real token.
    const int64_t heads = q.size(1);
    return prompts_.unpad(at::scaled_dot_product_attention(
        prompts_.pad(q), repeat_kv(k, heads), repeat_kv(v, heads), {}, 0.0, /*is_causal=*/true));
}

at::Tensor PackedAttention::attend_completions(const at::Tensor& q, const at::Tensor& k,
                                               const at::Tensor& v, const at::Tensor& prompt_k,
                                               const at::Tensor& prompt_v) const {
    const int64_t heads = q.size(1);
    const auto keys = [&](const at::Tensor& prompt, const at::Tensor& own) {
        const at::Tensor all = at::cat({take_rows(prompt, prompt_of_), completions_.pad(own)}, 2);
        return repeat_kv(all, heads);  // [B, H, W + L, D]
    };
    return completions_.unpad(at::scaled_dot_product_attention(
        completions_.pad(q), keys(prompt_k, k), keys(prompt_v, v), mask_));
}

at::Tensor repeat_kv(const at::Tensor& x, int64_t num_heads) {
    const int64_t repeats = num_heads / x.size(1);
    if (repeats == 1) return x;
    return x.unsqueeze(2)
        .expand({x.size(0), x.size(1), repeats, x.size(2), x.size(3)})
        .reshape({x.size(0), num_heads, x.size(2), x.size(3)});
}

}  // namespace grpo
