#include "model/self_attention.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include "kernels/row_ops.h"

namespace grpo {
namespace {

/// Where a backward follows, a part of qkv that is kept would keep q and k as they were before the
/// rotation.
at::Tensor own_copy(const at::Tensor& part) {
    return c10::GradMode::is_enabled() ? part.contiguous() : part;
}

}  // namespace

SelfAttention::SelfAttention(const BaseModel& base, const AttentionModules& modules,
                             const ModelConfig& config, int64_t layer)
    : qkv(base, modules.qkv),
      q_norm(base, modules.q_norm, norm_parameters(config)),
      k_norm(base, modules.k_norm, norm_parameters(config)),
      output(base, modules.output),
      layer_(layer),
      heads_(config.num_heads),
      kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim),
      rope_(config.layers[layer].rope) {}

at::Tensor SelfAttention::forward(const LinearInput& input, const RopeTables& ropes,
                                  Attention& attention, const ForwardMode& mode,
                                  const at::Tensor& residual) const {
    const auto [q, k, v] = queries_keys_values(qkv.forward(input, mode), ropes, mode);
    return output.forward({attention.attend(layer_, q, k, v)}, mode, residual);
}

std::array<at::Tensor, 3> SelfAttention::queries_keys_values(const at::Tensor& qkv,
                                                             const RopeTables& ropes,
                                                             const ForwardMode& mode) const {
    const int64_t n = qkv.size(0), dim = head_dim_;
    if (rope_ >= 0 && !q_norm.exists() && !cpu::fits(qkv)) {
        // Operators cost more than elements: one rotation for q and k.
        const auto parts =
            at::split_with_sizes(qkv.view({n, -1, dim}), {heads_ + kv_heads_, kv_heads_}, 1);
        const auto turned =
            at::split_with_sizes(apply_rope(parts[0], ropes[rope_]), {heads_, kv_heads_}, 1);
        return {turned[0], turned[1], own_copy(parts[1])};
    }
    const auto parts =
        at::split_with_sizes(qkv, {heads_ * dim, kv_heads_ * dim, kv_heads_ * dim}, -1);
    const auto normed = [&](const at::Tensor& x, int64_t count, const Norm& norm) {
        const std::vector<int64_t> heads{n, count, dim};
        if (!norm.exists()) return x.view(heads);
        // Over all heads together, or over each.
        return norm.size() > dim ? norm.apply(x, mode).view(heads)
                                 : norm.apply(x.view(heads), mode);
    };
    at::Tensor q = normed(parts[0], heads_, q_norm), k = normed(parts[1], kv_heads_, k_norm);
    if (rope_ >= 0) {
        q = apply_rope(q, ropes[rope_]);
        k = apply_rope(k, ropes[rope_]);
    }
    return {q, k, own_copy(parts[2]).view({n, kv_heads_, dim})};
}

}  // namespace grpo
