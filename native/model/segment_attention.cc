#include "model/segment_attention.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>

#include "model/product.h"

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Flat tokens [count · length, heads, D] as the kernels take them: [count, heads, length, D].
at::Tensor rows_of(const at::Tensor& flat, int64_t start, int64_t count, int64_t length) {
    return flat.narrow(0, start, count * length)
        .view({count, length, flat.size(1), flat.size(2)})
        .transpose(1, 2);
}
/// The same of one number a head: [N, H] -> [count, H, length].
at::Tensor sums_of(const at::Tensor& flat, int64_t start, int64_t count, int64_t length) {
    return flat.narrow(0, start, count * length)
        .view({count, length, flat.size(1)})
        .transpose(1, 2);
}

struct Attended {
    at::Tensor out;      // [N, H, D]
    at::Tensor log_sum;  // [N, H] fp32
};

const float* floats(const at::Tensor& x) { return x.const_data_ptr<float>(); }

cpu::AttentionShape shape_of(const at::Tensor& q, const at::Tensor& k, double scale) {
    return {q.size(1), k.size(1), q.size(2), scale};
}

Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                const Segments& segments, double scale) {
    Attended all{at::zeros(q.sizes(), q.options()),
                 at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat))};
    if (has_gemm(q)) {
        cpu::attend(segments.families, shape_of(q, k, scale), floats(q), floats(k), floats(v),
                    all.out.mutable_data_ptr<float>(), all.log_sum.mutable_data_ptr<float>());
        return all;
    }
    for (const auto& [start, count, length] : segments.runs) {
        const auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(
            rows_of(q, start, count, length), rows_of(k, start, count, length),
            rows_of(v, start, count, length), 0.0, /*is_causal=*/true, std::nullopt, scale);
        rows_of(all.out, start, count, length).copy_(out);
        sums_of(all.log_sum, start, count, length).copy_(log_sum);
    }
    for (const auto& [start, tokens, prompt_start, prompt_length] : segments.groups) {
        const auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(
            rows_of(q, start, 1, tokens), rows_of(k, prompt_start, 1, prompt_length),
            rows_of(v, prompt_start, 1, prompt_length), 0.0, /*is_causal=*/false, std::nullopt,
            scale);
        at::Tensor own = rows_of(all.out, start, 1, tokens);
        at::Tensor own_sum = sums_of(all.log_sum, start, 1, tokens);
        const at::Tensor share = at::sigmoid(log_sum - own_sum).unsqueeze(-1);
        own.lerp_(out, share.to(own.scalar_type()));
        own_sum.copy_(at::logaddexp(own_sum, log_sum));
    }
    return all;
}

struct Saved : torch::CustomClassHolder {
    std::shared_ptr<const Segments> segments;
    double scale = 1;
};

class SegmentAttention : public torch::autograd::Function<SegmentAttention> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const c10::intrusive_ptr<Saved>& call) {
        const Attended all = attend(q, k, v, *call->segments, call->scale);
        context->save_for_backward({q, k, v, all.out, all.log_sum});
        context->saved_data["call"] = c10::IValue::make_capsule(call);
        return all.out.view({q.size(0), -1});
    }

    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto capsule = context->saved_data["call"].toCapsule();
        const auto* call = static_cast<const Saved*>(capsule.get());
        const auto saved = context->get_saved_variables();
        const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
        const at::Tensor dout = gradients[0].contiguous().view(q.sizes());
        if (has_gemm(q))
            return by_blocks(*call, q, k, v, {.out = saved[3], .log_sum = saved[4]}, dout);
        at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()),
                   dv = at::empty(v.sizes(), v.options());
        const auto segment_backward = [&](int64_t start, int64_t count, int64_t length,
                                          int64_t key_start, int64_t key_length, bool is_causal) {
            return at::_scaled_dot_product_flash_attention_for_cpu_backward(
                rows_of(dout, start, count, length), rows_of(q, start, count, length),
                rows_of(k, key_start, count, key_length), rows_of(v, key_start, count, key_length),
                rows_of(saved[3], start, count, length), sums_of(saved[4], start, count, length),
                0.0, is_causal, std::nullopt, call->scale);
        };
        for (const auto& [start, count, length] : call->segments->runs) {
            const auto [by_q, by_k, by_v] =
                segment_backward(start, count, length, start, length, true);
            rows_of(dq, start, count, length).copy_(by_q);
            rows_of(dk, start, count, length).copy_(by_k);
            rows_of(dv, start, count, length).copy_(by_v);
        }
        for (const auto& [start, tokens, prompt_start, prompt_length] : call->segments->groups) {
            const auto [by_q, by_k, by_v] =
                segment_backward(start, 1, tokens, prompt_start, prompt_length, false);
            rows_of(dq, start, 1, tokens).add_(by_q);
            rows_of(dk, prompt_start, 1, prompt_length).add_(by_k);
            rows_of(dv, prompt_start, 1, prompt_length).add_(by_v);
        }
        return {dq, dk, dv, {}};
    }

  private:
    static variable_list by_blocks(const Saved& call, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, const Attended& all,
                                   const at::Tensor& dout) {
        const at::Tensor dq = at::zeros_like(q), dk = at::zeros_like(q), dv = at::zeros_like(q);
        cpu::attend_backward(call.segments->families, shape_of(q, k, call.scale), floats(q),
                             floats(k), floats(v), floats(all.out), floats(all.log_sum),
                             floats(dout),
                             {dq.mutable_data_ptr<float>(), dk.mutable_data_ptr<float>(),
                              dv.mutable_data_ptr<float>()});
        const auto of_kv_heads = [&](const at::Tensor& gradient) {
            if (q.size(1) == k.size(1)) return gradient;
            return gradient.view({k.size(0), k.size(1), -1, k.size(2)}).sum(2);
        };
        return {dq, of_kv_heads(dk), of_kv_heads(dv), {}};
    }
};

/// Cuts a sequence into spans, and puts them into the family's last block while they fit.
void add_sequence(cpu::AttentionFamily& family, int64_t start, int64_t length, int64_t prompt_start,
                  int64_t prompt_length) {
    for (int64_t from = start; from < start + length; from += cpu::kBlockQueries) {
        const int64_t count = std::min(cpu::kBlockQueries, start + length - from);
        const bool joins = !family.empty() && family.back().prompt_length == prompt_length &&
                           family.back().count + count <= cpu::kBlockQueries;
        if (!joins) family.push_back({from, 0, prompt_start, prompt_length, {}});
        family.back().spans.push_back({start, from, count});
        family.back().count += count;
    }
}

}  // namespace

Segments::Segments(const PackedLayout& layout) {
    int64_t start = 0;
    const auto add_run = [&](int64_t length) {
        if (length == 0) return;
        const bool joins = !runs.empty() && runs.back().length == length &&
                           runs.back().start + runs.back().count * length == start;
        if (joins) {
            ++runs.back().count;
        } else {
            runs.push_back({start, 1, length});
        }
        start += length;
    };
    std::vector<int64_t> prompt_starts;
    for (const int64_t length : layout.prompt_lengths) {
        prompt_starts.push_back(start);
        longest = std::max(longest, length);
        families.emplace_back();
        add_sequence(families.back(), start, length, 0, 0);
        add_run(length);
    }
    for (size_t row = 0; row < layout.completion_lengths.size(); ++row) {
        const int64_t length = layout.completion_lengths[row], prompt = layout.prompt_of[row],
                      prompt_length = layout.prompt_lengths[prompt];
        longest = std::max(longest, prompt_length + length);
        if (length == 0) continue;
        add_sequence(families[prompt], start, length, prompt_starts[prompt], prompt_length);
        if (!groups.empty() && groups.back().prompt_start == prompt_starts[prompt]) {
            groups.back().tokens += length;
        } else {
            groups.push_back({start, length, prompt_starts[prompt], prompt_length});
        }
        add_run(length);
    }
}

at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::shared_ptr<const Segments>& segments, double scale) {
    const at::Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous();
    if (!c10::GradMode::is_enabled())
        return attend(queries, keys, values, *segments, scale).out.view({q.size(0), -1});
    auto call = c10::make_intrusive<Saved>();
    call->segments = segments;
    call->scale = scale;
    return SegmentAttention::apply(queries, keys, values, call);
}

}  // namespace grpo
