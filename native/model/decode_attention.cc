#include "model/decode_attention.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "device.h"

namespace grpo {

DecodeInputs::DecodeInputs(const DecodeShape& shape, int64_t kv_heads, at::Device device)
    : shape_(shape), kv_heads_(kv_heads) {
    const auto [n, prompts, width, time, pages] = shape;
    const int64_t places = prompts * kv_heads * width;
    const auto options = at::TensorOptions().dtype(at::kLong).device(device);
    packed_ = at::empty({n * (6 + kv_heads) + kv_heads + places}, options);
    int64_t start = 0;
    const auto next = [&](int64_t size) {
        start += size;
        return packed_.narrow(0, start - size, size);
    };
    // In the order of write().
    ids = next(n);
    positions = next(n);
    times = next(n);
    prompt_length = next(n);
    uniforms = next(n).view(at::kDouble);
    row = next(n).unsqueeze(1);
    head = next(kv_heads).unsqueeze(0);
    to_row = next(n * kv_heads);
    to_group = next(places);
}

void DecodeInputs::write(const DecodeRows& rows, const std::vector<double>& draws) {
    const auto [n, prompts, width, time, pages] = shape_;
    const auto live = static_cast<int64_t>(rows.ids.size());
    std::vector<int64_t> host(packed_.numel(), 0);
    int64_t* out = host.data();
    const auto put = [&](const std::vector<int64_t>& values, int64_t size) {
        std::copy(values.begin(), values.end(), out);
        out += size;
    };
    std::vector<int64_t> lengths(n, 1), positions(n, 0), all(std::max(n, kv_heads_));
    for (int64_t i = 0; i < live; ++i) {
        lengths[i] = rows.prompt_lengths[rows.slots[i]];
        positions[i] = lengths[i] + rows.times[i];
    }
    std::iota(all.begin(), all.end(), 0);
    put(rows.ids, n);
    put(positions, n);
    put(rows.times, n);
    put(lengths, n);
    std::memcpy(out, draws.data(), draws.size() * sizeof(double));
    out += n;
    put({all.begin(), all.begin() + n}, n);
    put({all.begin(), all.begin() + kv_heads_}, kv_heads_);

    int64_t *to_row_out = out, *to_group_out = out + n * kv_heads_;
    std::vector<int64_t> members(prompts, 0);
    for (int64_t i = 0; i < live; ++i) {
        const int64_t slot = rows.slots[i], member = members[slot]++;
        for (int64_t h = 0; h < kv_heads_; ++h) {
            const int64_t place = (slot * kv_heads_ + h) * width + member;
            to_row_out[i * kv_heads_ + h] = place;
            to_group_out[place] = i * kv_heads_ + h;
        }
    }
    packed_.copy_(staged_for(packed_.device(), host), /*non_blocking=*/true);
}

DecodeAttention::DecodeAttention(const ModelConfig& config, KvCache& cache,
                                 const DecodeInputs& inputs, at::ScalarType dtype)
    : config_(config),
      cache_(cache),
      inputs_(inputs),
      shape_(inputs.shape()),
      mask_dtype_(at::promote_types(dtype, at::kFloat)) {
    cache_.reserve_time(shape_.time - 1);
}

const at::Tensor& DecodeAttention::mask(int64_t window) {
    at::Tensor& mask = mask_[window];
    if (mask.defined()) return mask;
    const at::Tensor length = inputs_.prompt_length.unsqueeze(1), now = inputs_.times.unsqueeze(1);
    const at::Tensor key = at::arange(cache_.prompt_width(), now.options()),
                     own = at::arange(shape_.time, now.options());
    at::Tensor in_prompt = key.lt(length), in_own = own.le(now);
    if (window != 0) {
        in_prompt = in_prompt.logical_and(key.gt(length + now - window));
        in_own = in_own.logical_and(own.gt(now - window));
    }
    const at::Tensor visible = at::cat({in_prompt, in_own}, 1).view({shape_.rows, 1, 1, -1});
    return mask = additive_mask(visible, mask_dtype_);
}

at::Tensor DecodeAttention::group_rows(const at::Tensor& rows) const {
    const int64_t repeats = rows.size(1), width = rows.size(2), heads = cache_.kv_heads();
    return at::index(rows.view({-1, repeats * width}), {inputs_.to_group})
        .view({shape_.prompts * heads, shape_.width * repeats, width});
}

at::Tensor DecodeAttention::ungroup_rows(const at::Tensor& grouped, int64_t repeats) const {
    const int64_t width = grouped.size(2);
    return at::index(grouped.view({-1, repeats * width}), {inputs_.to_row})
        .view({-1, repeats, width});
}

at::Tensor DecodeAttention::attend(int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v) {
    cache_.store_step(layer, inputs_.row, inputs_.head, inputs_.times.unsqueeze(1), k, v);
    const int64_t n = shape_.rows, heads = cache_.kv_heads(), head_dim = q.size(2);
    const int64_t repeats = q.size(1) / heads, width = cache_.prompt_width();
    const double scale = config_.attention_scale, cap = config_.attention_softcap;
    const at::Tensor queries = q.reshape({n * heads, repeats, head_dim});

    const at::Tensor prompt_scores = ungroup_rows(
        at::bmm(group_rows(queries), cache_.prompt_k(layer, shape_.prompts).transpose(1, 2)),
        repeats);
    const at::Tensor own_scores =
        at::bmm(queries, cache_.row_k(layer, n, shape_.time).transpose(1, 2));
    const at::Tensor scores =
        at::cat({prompt_scores, own_scores}, -1).view({n, heads, repeats, -1});
    const at::Tensor& hidden = mask(config_.layers[layer].window);
    const at::Tensor masked = cap == 0 ? at::add(hidden, scores, scale)
                                       : hidden + softcap(scores.to(mask_dtype_) * scale, cap);
    // [n·K, r, W + Tm]
    const at::Tensor weights =
        at::softmax(masked, -1).to(q.scalar_type()).view({n * heads, repeats, -1});

    // Whole rows, because a part of them would be a copy more.
    at::Tensor sum = ungroup_rows(
        at::bmm(group_rows(weights).narrow(-1, 0, width), cache_.prompt_v(layer, shape_.prompts)),
        repeats);
    sum.baddbmm_(weights.narrow(-1, width, shape_.time), cache_.row_v(layer, n, shape_.time));
    return sum.view({n, heads * repeats * head_dim});
}

}  // namespace grpo
