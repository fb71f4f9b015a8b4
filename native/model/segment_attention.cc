#include "model/segment_attention.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const float* floats(const at::Tensor& x) { return x.const_data_ptr<float>(); }
float* floats(at::Tensor& x) { return x.mutable_data_ptr<float>(); }

struct Attended {
    at::Tensor out;      // [N, H, D]
    at::Tensor log_sum;  // [N, H]
};

cpu::AttentionShape shape_of(const at::Tensor& q, const at::Tensor& k,
                             const AttentionTerms& terms) {
    return {q.size(1),     k.size(1),    q.size(2),    terms.scale,
            terms.softcap, terms.window, terms.storage};
}

Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                const Segments& segments, const AttentionTerms& terms) {
    Attended all{at::empty_like(q), at::empty({q.size(0), q.size(1)}, q.options())};
    cpu::attend(segments.families, shape_of(q, k, terms), floats(q), floats(k), floats(v),
                floats(all.out), floats(all.log_sum));
    return all;
}

struct Saved : torch::CustomClassHolder {
    std::shared_ptr<const Segments> segments;
    AttentionTerms terms;
};

class SegmentAttention : public torch::autograd::Function<SegmentAttention> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const c10::intrusive_ptr<Saved>& call) {
        const Attended all = attend(q, k, v, *call->segments, call->terms);
        // In bf16 the products round what they read: halves are all that the backward needs.
        const auto dtype =
            call->terms.storage == cpu::Storage::kBFloat16 ? at::kBFloat16 : at::kFloat;
        context->save_for_backward({q.to(dtype), k.to(dtype), v.to(dtype), all.log_sum});
        context->saved_data["call"] = c10::IValue::make_capsule(call);
        return all.out.view({q.size(0), -1});
    }
    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto capsule = context->saved_data["call"].toCapsule();
        const auto* call = static_cast<const Saved*>(capsule.get());
        const auto saved = context->get_saved_variables();
        const auto wide = [&](int64_t i) { return saved[i].to(at::kFloat); };
        const at::Tensor q = wide(0), k = wide(1), v = wide(2);
        const at::Tensor dout = gradients[0].contiguous();
        at::Tensor dq = at::empty_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
        cpu::attend_backward(call->segments->families, shape_of(q, k, call->terms), floats(q),
                             floats(k), floats(v), floats(saved[3]), floats(dout),
                             {floats(dq), floats(dk), floats(dv)});
        return {dq, dk, dv, {}};
    }
};

/// Cuts a sequence into spans, and puts them into the family's last block while they fit.
void add_sequence(cpu::AttentionFamily& family, int64_t start, int64_t length, int64_t prompt_start,
                  int64_t prompt_length, int64_t repeats) {
    const int64_t most = cpu::block_queries(prompt_length + length, repeats);
    for (int64_t from = start; from < start + length; from += most) {
        const int64_t count = std::min(most, start + length - from);
        const bool joins = !family.empty() && family.back().prompt_length == prompt_length &&
                           family.back().count + count <= most;
        if (!joins) family.push_back({from, 0, prompt_start, prompt_length, {}});
        family.back().spans.push_back({start, from, count});
        family.back().count += count;
    }
}

}  // namespace

Segments::Segments(const PackedLayout& layout, int64_t repeats) {
    int64_t start = 0;
    std::vector<int64_t> prompt_starts;
    for (const int64_t length : layout.prompt_lengths) {
        prompt_starts.push_back(start);
        families.emplace_back();
        add_sequence(families.back(), start, length, 0, 0, repeats);
        start += length;
    }
    for (size_t row = 0; row < layout.completion_lengths.size(); ++row) {
        const int64_t length = layout.completion_lengths[row], prompt = layout.prompt_of[row];
        if (length > 0) {
            add_sequence(families[prompt], start, length, prompt_starts[prompt],
                         layout.prompt_lengths[prompt], repeats);
        }
        start += length;
    }
}

at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::shared_ptr<const Segments>& segments,
                             const AttentionTerms& terms) {
    const at::Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous();
    if (!c10::GradMode::is_enabled())
        return attend(queries, keys, values, *segments, terms).out.view({q.size(0), -1});
    auto call = c10::make_intrusive<Saved>();
    call->segments = segments;
    call->terms = terms;
    return SegmentAttention::apply(queries, keys, values, call);
}

}  // namespace grpo
