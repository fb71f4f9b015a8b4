// What only CUDA has kernels for, computed on the CPU, so that the device has it too: attention
// over sequences of different lengths, sequence by sequence with all scores at once, and the
// backward of the fused norm. The layouts and what is refused are those of CUDA, as are the
// log-sums, [H, N].
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/library.h>

#include <limits>

namespace fake {
namespace {

constexpr int64_t kPage = 256;

struct Windows {
    bool causal;
    std::optional<int64_t> left, right;
};

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    for (const at::Tensor& x : {q, k, v}) {
        TORCH_CHECK(x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf,
                    "flash attention takes half precision only");
        TORCH_CHECK(x.stride(-1) == 1, "the last dimension must be contiguous");
        TORCH_CHECK(x.size(-1) % 8 == 0 && x.size(-1) <= 256, "heads of 8, 16, .. 256 numbers");
    }
}

void check_starts(const at::Tensor& starts) {
    TORCH_CHECK(starts.scalar_type() == at::kInt && starts.is_contiguous(),
                "sequence starts must be contiguous int32");
}

/// Which of `keys` keys each of `queries` queries does not see: the last sees the last.
at::Tensor hidden(int64_t queries, int64_t keys, const Windows& windows) {
    const at::Tensor q = at::arange(queries).unsqueeze(1) + (keys - queries), k = at::arange(keys);
    at::Tensor mask = at::zeros({queries, keys}, at::kBool);
    const int64_t right = windows.causal ? 0 : windows.right.value_or(-1);
    if (right >= 0) mask = mask | (k > q + right);
    if (windows.left.value_or(-1) >= 0) mask = mask | (k < q - *windows.left);
    return mask;
}

/// [T, K, D] -> [H, T, D] in fp32.
at::Tensor heads_first(const at::Tensor& x, int64_t heads) {
    return x.to(at::kFloat).repeat_interleave(heads / x.size(1), 1).transpose(0, 1);
}

/// [H, T, D] -> [T, K, D], summed over the heads that share one.
at::Tensor heads_last(const at::Tensor& x, int64_t kv_heads) {
    return x.view({kv_heads, -1, x.size(1), x.size(2)}).sum(1).transpose(0, 1);
}

at::Tensor scores(const at::Tensor& q, const at::Tensor& k, double scale, const Windows& windows) {
    return (at::matmul(q, k.transpose(1, 2)) * scale)
        .masked_fill(hidden(q.size(1), k.size(1), windows),
                     -std::numeric_limits<double>::infinity());
}

/// A sequence's keys, one after the other or in pages.
at::Tensor keys_of(const at::Tensor& all, const std::optional<at::Tensor>& blocks, int64_t sequence,
                   int64_t start, int64_t count) {
    if (!blocks) return all.narrow(0, start, count);
    TORCH_CHECK(all.size(1) % kPage == 0, "pages of 256 keys");
    const int64_t pages = (count + all.size(1) - 1) / all.size(1);
    const at::Tensor table = blocks->select(0, sequence).narrow(0, 0, pages).to(at::kLong);
    return all.index_select(0, table).flatten(0, 1).narrow(0, 0, count);
}

using Forward = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Forward forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                const std::optional<at::Tensor>& query_starts,
                const std::optional<at::Tensor>& key_starts, int64_t longest_query,
                int64_t longest_key, double dropout, bool causal, bool /*return_mask*/,
                std::optional<double> scale, std::optional<int64_t> left,
                std::optional<int64_t> right, const std::optional<at::Tensor>& used_keys,
                const std::optional<at::Tensor>& /*slopes*/,
                const std::optional<at::Tensor>& blocks, std::optional<int64_t> /*splits*/) {
    const c10::NoGradGuard no_grad;
    check(q, k, v);
    TORCH_CHECK(query_starts && key_starts && dropout == 0, "sequences of different lengths only");
    check_starts(*query_starts);
    check_starts(*key_starts);
    if (blocks) check_starts(*blocks);
    const int64_t heads = q.size(1), sequences = query_starts->size(0) - 1;
    at::Tensor out = at::empty(q.sizes(), q.options());
    at::Tensor log_sum = at::empty({heads, q.size(0)}, q.options().dtype(at::kFloat));
    const auto *from = query_starts->const_data_ptr<int32_t>(),
               *keys_from = key_starts->const_data_ptr<int32_t>();
    for (int64_t s = 0; s < sequences; ++s) {
        const int64_t queries = from[s + 1] - from[s];
        const int64_t keys =
            used_keys ? used_keys->const_data_ptr<int32_t>()[s] : keys_from[s + 1] - keys_from[s];
        TORCH_CHECK(queries <= longest_query && keys <= longest_key,
                    "a sequence is longer than the longest");
        if (queries == 0) continue;
        const auto part = [&](const at::Tensor& all) {
            return heads_first(keys_of(all, blocks, s, keys_from[s], keys), heads);
        };
        const at::Tensor all = scores(heads_first(q.narrow(0, from[s], queries), heads), part(k),
                                      *scale, {causal, left, right});
        out.narrow(0, from[s], queries).copy_(at::matmul(all.softmax(-1), part(v)).transpose(0, 1));
        log_sum.narrow(1, from[s], queries).copy_(all.logsumexp(-1));
    }
    const at::Tensor state = at::zeros({2}, q.options().dtype(at::kUInt64));
    return {out, log_sum, state, state, at::empty({0}, q.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& log_sum, const at::Tensor& query_starts,
    const at::Tensor& key_starts, int64_t longest_query, int64_t longest_key, double /*dropout*/,
    bool causal, const at::Tensor& /*state*/, const at::Tensor& /*unused*/,
    std::optional<double> scale, std::optional<int64_t> left, std::optional<int64_t> right) {
    const c10::NoGradGuard no_grad;
    check(q, k, v);
    check_starts(query_starts);
    check_starts(key_starts);
    TORCH_CHECK(log_sum.is_contiguous() && dout.stride(-1) == 1, "what is kept must be contiguous");
    const int64_t heads = q.size(1), kv_heads = k.size(1), sequences = query_starts.size(0) - 1;
    const auto zeros = [](const at::Tensor& x) { return at::zeros(x.sizes(), x.options()); };
    at::Tensor dq = zeros(q), dk = zeros(k), dv = zeros(v);
    const auto *from = query_starts.const_data_ptr<int32_t>(),
               *keys_from = key_starts.const_data_ptr<int32_t>();
    for (int64_t s = 0; s < sequences; ++s) {
        const int64_t queries = from[s + 1] - from[s], keys = keys_from[s + 1] - keys_from[s];
        TORCH_CHECK(queries <= longest_query && keys <= longest_key,
                    "a sequence is longer than the longest");
        if (queries == 0) continue;
        const auto of_queries = [&](const at::Tensor& x) {
            return heads_first(x.narrow(0, from[s], queries), heads);
        };
        const auto of_keys = [&](const at::Tensor& x) {
            return heads_first(x.narrow(0, keys_from[s], keys), heads);
        };
        const at::Tensor query = of_queries(q), key = of_keys(k), d = of_queries(dout);
        const at::Tensor p = (scores(query, key, *scale, {causal, left, right}) -
                              log_sum.narrow(1, from[s], queries).unsqueeze(-1))
                                 .exp();
        const at::Tensor delta = (d * of_queries(out)).sum(-1, true);
        const at::Tensor ds = p * (at::matmul(d, of_keys(v).transpose(1, 2)) - delta) * *scale;
        dq.narrow(0, from[s], queries).copy_(at::matmul(ds, key).transpose(0, 1));
        dk.narrow(0, keys_from[s], keys)
            .copy_(heads_last(at::matmul(ds.transpose(1, 2), query), kv_heads));
        dv.narrow(0, keys_from[s], keys)
            .copy_(heads_last(at::matmul(p.transpose(1, 2), d), kv_heads));
    }
    return {dq, dk, dv};
}

std::tuple<at::Tensor, at::Tensor> rms_norm_backward(const at::Tensor& dy, const at::Tensor& x,
                                                     at::IntArrayRef shape, const at::Tensor& scale,
                                                     const std::optional<at::Tensor>& weight,
                                                     std::array<bool, 2> /*needed*/) {
    const c10::NoGradGuard no_grad;
    const at::Tensor wide = dy.to(at::kFloat), normed = x.to(at::kFloat) * scale;
    const at::Tensor g = wide * weight->to(at::kFloat);
    const at::Tensor dx = (g - normed * (g * normed).mean(-1, true)) * scale;
    return {dx.to(x.scalar_type()),
            (wide * normed).view({-1, shape[0]}).sum(0).to(weight->scalar_type())};
}

}  // namespace
}  // namespace fake

TORCH_LIBRARY_IMPL(aten, CPU, m) {
    m.impl("_flash_attention_forward", fake::forward);
    m.impl("_flash_attention_backward", fake::backward);
    m.impl("_fused_rms_norm_backward", fake::rms_norm_backward);
}
