#include "model/fused_linear.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>

#include "model/gated.h"
#include "model/product.h"

namespace grpo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// p, and of a norm the scale that its backward needs.
struct Read {
    at::Tensor p;
    at::Tensor scale;
};

Read read(const LinearInput& input, const at::Tensor& x) {
    if (input.activation) return {gated_forward(x, *input.activation), {}};
    if (!input.norm_weight.defined()) return {x, {}};
    const Normed normed = rms_norm_forward(x, input.norm_weight.detach(), input.norm);
    return {normed.y, normed.scale};
}

/// All A below each other: [ΣR, in].
at::Tensor stacked_a(const std::vector<LowRankPair>& pairs, at::ScalarType dtype) {
    if (pairs.size() == 1) return pairs[0].a.detach().to(dtype);
    std::vector<at::Tensor> all;
    for (const LowRankPair& pair : pairs) all.push_back(pair.a.detach());
    return at::cat(all).to(dtype);
}

/// Calls f(pair, its columns of the [N, ΣR] products).
template <typename F>
void each_pair(const std::vector<LowRankPair>& pairs, F f) {
    int64_t from = 0;
    for (const LowRankPair& pair : pairs) {
        const int64_t rank = pair.a.size(0);
        f(pair, from, rank);
        from += rank;
    }
}

bool has_masks(const std::vector<LowRankPair>& pairs) {
    return !pairs.empty() && pairs[0].mask.defined();
}

/// One scaling for all pairs.
bool scale_alike(const std::vector<LowRankPair>& pairs) {
    return std::all_of(pairs.begin(), pairs.end(),
                       [&](const LowRankPair& pair) { return pair.scaling == pairs[0].scaling; });
}

/// s p Aᵀ. On an accelerator the product has the factor for nothing.
at::Tensor scaled_product(const at::Tensor& p, const at::Tensor& a_t, double scaling) {
    if (p.is_cpu()) return at::mm(p, a_t).mul_(scaling);
    at::Tensor scaled = at::empty({p.size(0), a_t.size(1)}, p.options());
    product_into(scaled, p, a_t, scaling);
    return scaled;
}

/// s_i p_i A_iᵀ of all pairs beside each other: [N, ΣR].
at::Tensor through_a(const std::vector<LowRankPair>& pairs, const at::Tensor& p) {
    const at::Tensor a = stacked_a(pairs, p.scalar_type());
    if (!p.is_cpu() && !has_masks(pairs) && scale_alike(pairs))
        return scaled_product(p, a.t(), pairs[0].scaling);
    at::Tensor products =
        has_masks(pairs) ? at::empty({p.size(0), a.size(0)}, p.options()) : product(p, a.t());
    each_pair(pairs, [&](const LowRankPair& pair, int64_t from, int64_t rank) {
        const at::Tensor own = products.narrow(1, from, rank);
        if (has_masks(pairs)) product_into(own, p * pair.mask, a.narrow(0, from, rank).t());
        own.mul_(pair.scaling);
    });
    return products;
}

/// s_i p_i A_iᵀ of all pairs beside each other, added to y through their B: [N, ΣR].
at::Tensor add_pairs(const std::vector<LowRankPair>& pairs, const at::Tensor& p, at::Tensor& y) {
    if (pairs.empty()) return {};
    const at::ScalarType dtype = p.scalar_type();
    at::Tensor products = through_a(pairs, p);
    each_pair(pairs, [&](const LowRankPair& pair, int64_t from, int64_t rank) {
        add_product(y.narrow(1, pair.start, pair.b.size(0)), products.narrow(1, from, rank),
                    pair.b.detach().to(dtype).t());
    });
    return products;
}

/// The residual and what the weight makes of p, in one kernel; in inference mode in the memory of
/// the residual, which nobody keeps.
at::Tensor added_product(const LinearTerms& terms, const at::Tensor& p) {
    const at::Tensor weight = terms.weight->dense().t();
    at::Tensor y = terms.residual.detach();
    y = c10::InferenceMode::is_enabled() ? y.addmm_(p, weight) : at::addmm(y, p, weight);
    if (terms.bias.defined()) y.add_(terms.bias);
    return y;
}

/// y of the weight, the pairs and the bias, added by `add`. On a CPU the bias comes last, as in a
/// decode step; elsewhere the product takes it along.
template <typename F>
at::Tensor with_bias(const LinearTerms& terms, const at::Tensor& p, F add) {
    const bool last = !terms.pairs.empty() && has_gemm(p);
    at::Tensor y = terms.residual.defined()
                       ? added_product(terms, p)
                       : terms.weight->product(p, last ? at::Tensor() : terms.bias);
    add(y);
    if (last && terms.bias.defined()) y.add_(terms.bias);
    return y;
}

/// What the backward needs beside the tensors that autograd keeps.
struct Call : torch::CustomClassHolder {
    LinearInput input;  // without x
    LinearTerms terms;
    bool needs_input = false;
    bool needs_norm = false;
    bool residual = false;  // whether there is one; it is not kept
};

/// The inputs that exist, in this order: x, the norm's weight, master, bias, a and b of the pairs,
/// the residual.
variable_list inputs_of(const at::Tensor& x, const Call& call) {
    variable_list inputs{x};
    const auto add = [&](const at::Tensor& tensor) {
        if (tensor.defined()) inputs.push_back(tensor);
    };
    add(call.input.norm_weight);
    add(call.terms.master);
    add(call.terms.bias);
    for (const LowRankPair& pair : call.terms.pairs) {
        add(pair.a);
        add(pair.b);
    }
    add(call.terms.residual);
    return inputs;
}

/// What is kept of an activation for the backward: bf16 beside bf16 weights, whose products round
/// it anyway, so that a pass over a long batch takes half the memory.
at::Tensor kept(const at::Tensor& x, const Weight& weight) {
    return x.is_cpu() && weight.dtype() == at::kBFloat16 ? x.to(at::kBFloat16) : x;
}

class FusedLinear : public torch::autograd::Function<FusedLinear> {
  public:
    static at::Tensor forward(AutogradContext* context, const at::TensorList& inputs,
                              const c10::intrusive_ptr<Call>& call) {
        const at::Tensor& norm_weight = call->input.norm_weight;
        call->needs_input = inputs[0].requires_grad();
        call->needs_norm = norm_weight.defined() && norm_weight.requires_grad();
        const Read from = read(call->input, inputs[0]);
        at::Tensor products;
        const at::Tensor y = with_bias(call->terms, from.p, [&](at::Tensor& sum) {
            products = add_pairs(call->terms.pairs, from.p, sum);
        });
        call->residual = call->terms.residual.defined();
        call->terms.residual = at::Tensor();
        // A frozen layer that reads its input as it is has no use for it.
        const bool reads_input = norm_weight.defined() || call->input.activation ||
                                 call->terms.master.defined() || !call->terms.pairs.empty();
        const at::Tensor x = reads_input ? kept(inputs[0], *call->terms.weight) : at::Tensor();
        context->save_for_backward({x, from.scale, products});
        context->saved_data["call"] = c10::IValue::make_capsule(call);
        return y;
    }

    static variable_list backward(AutogradContext* context, variable_list gradients) {
        const auto capsule = context->saved_data["call"].toCapsule();
        const auto* call = static_cast<const Call*>(capsule.get());
        const auto saved = context->get_saved_variables();
        const LinearTerms& terms = call->terms;
        const at::Tensor& dy = gradients[0];
        const at::Tensor x = saved[0].defined() ? saved[0].to(dy.scalar_type()) : saved[0];

        const bool to_input = call->needs_input || call->needs_norm;
        at::Tensor p, dp;
        if (terms.master.defined() || !terms.pairs.empty()) p = read(call->input, x).p;
        if (to_input) dp = terms.weight->product_backward(dy);
        const variable_list of_pairs = backward_of_pairs(terms.pairs, dy, p, saved[2], dp);
        variable_list result(1);
        if (to_input)
            backward_of_input(*call, x, dp, saved[1], result);
        else if (call->input.norm_weight.defined())
            result.emplace_back();
        if (terms.master.defined())
            result.push_back(product(dy.t(), p).to(terms.master.scalar_type()));
        if (terms.bias.defined()) {
            result.push_back(terms.bias.requires_grad() ? dy.sum(0).to(terms.bias.scalar_type())
                                                        : at::Tensor());
        }
        result.insert(result.end(), of_pairs.begin(), of_pairs.end());
        if (call->residual) result.push_back(dy);
        result.emplace_back();  // for the call
        return result;
    }

  private:
    /// Gradients of a and b of every pair; adds to dp where it is defined.
    static variable_list backward_of_pairs(const std::vector<LowRankPair>& pairs,
                                           const at::Tensor& dy, const at::Tensor& p,
                                           const at::Tensor& products, at::Tensor& dp) {
        variable_list result;
        if (pairs.empty()) return result;
        const at::ScalarType dtype = dy.scalar_type();
        at::Tensor dproducts = at::empty_like(products);  // [N, ΣR]
        each_pair(pairs, [&](const LowRankPair& pair, int64_t from, int64_t rank) {
            const at::Tensor columns = dy.narrow(1, pair.start, pair.b.size(0));
            product_into(dproducts.narrow(1, from, rank), columns, pair.b.detach().to(dtype),
                         pair.scaling);
        });
        if (dp.defined()) add_to_input(pairs, dproducts, dp);
        const at::Tensor da = gradient_of_a(pairs, dproducts, p);
        each_pair(pairs, [&](const LowRankPair& pair, int64_t from, int64_t rank) {
            const at::Tensor columns = dy.narrow(1, pair.start, pair.b.size(0));
            // Transposed, so that the wide side fills the kernels' vectors.
            const at::Tensor db = product(products.narrow(1, from, rank).t(), columns).t();
            result.push_back(da.narrow(0, from, rank).to(pair.a.scalar_type()));
            result.push_back(db.to(pair.b.scalar_type()));
        });
        return result;
    }

    static void add_to_input(const std::vector<LowRankPair>& pairs, const at::Tensor& dproducts,
                             at::Tensor& dp) {
        const at::Tensor a = stacked_a(pairs, dproducts.scalar_type());
        if (!has_masks(pairs)) return add_product(dp, dproducts, a);
        each_pair(pairs, [&](const LowRankPair& pair, int64_t from, int64_t rank) {
            dp.add_(
                product(dproducts.narrow(1, from, rank), a.narrow(0, from, rank)).mul_(pair.mask));
        });
    }

    /// All pairs below each other: [ΣR, in].
    static at::Tensor gradient_of_a(const std::vector<LowRankPair>& pairs,
                                    const at::Tensor& dproducts, const at::Tensor& p) {
        if (!has_masks(pairs)) return product(dproducts.t(), p);
        at::Tensor da = at::empty({dproducts.size(1), p.size(1)}, p.options());
        each_pair(pairs, [&](const LowRankPair& pair, int64_t from, int64_t rank) {
            product_into(da.narrow(0, from, rank), dproducts.narrow(1, from, rank).t(),
                         p * pair.mask);
        });
        return da;
    }

    /// Sets the gradient of x, and appends that of the norm's weight where there is one.
    static void backward_of_input(const Call& call, const at::Tensor& x, const at::Tensor& dp,
                                  const at::Tensor& scale, variable_list& result) {
        const LinearInput& input = call.input;
        if (input.activation) {
            result[0] = gated_backward(dp, x, *input.activation);
        } else if (input.norm_weight.defined()) {
            const NormGradient gradient =
                rms_norm_backward(dp, x, input.norm_weight, scale, input.norm, call.needs_norm);
            if (call.needs_input) result[0] = gradient.x;
            result.push_back(gradient.weight);
        } else {
            result[0] = dp;
        }
    }
};

}  // namespace

StackedPairs stack_pairs(const LinearTerms& terms, at::ScalarType dtype) {
    const auto& pairs = terms.pairs;
    if (pairs.empty() || !scale_alike(pairs)) return {};
    const at::Tensor a_t = stacked_a(pairs, dtype).t();
    at::Tensor b_t = at::zeros({a_t.size(1), terms.weight->out()}, a_t.options());
    each_pair(pairs, [&](const LowRankPair& pair, int64_t from, int64_t rank) {
        b_t.narrow(0, from, rank).narrow(1, pair.start, pair.b.size(0)).copy_(pair.b.detach().t());
    });
    return {a_t, b_t, pairs[0].scaling};
}

at::Tensor fused_linear(const LinearInput& input, const LinearTerms& terms) {
    if (!c10::GradMode::is_enabled()) {
        const at::Tensor p = read(input, input.x).p;
        return with_bias(terms, p, [&](at::Tensor& y) {
            const StackedPairs& all = terms.stacked;
            if (all.a_t.defined())
                y.addmm_(scaled_product(p, all.a_t, all.scaling), all.b_t);
            else
                add_pairs(terms.pairs, p, y);
        });
    }
    auto call = c10::make_intrusive<Call>();
    call->input = input;
    call->input.x = at::Tensor();
    call->terms = terms;
    const variable_list inputs = inputs_of(input.x, *call);
    return FusedLinear::apply(at::TensorList(inputs), call);
}

}  // namespace grpo
