#include "kernels/row_ops.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "kernels/parallel.h"

namespace grpo::cpu {
namespace {

const float* row(const at::Tensor& x, int64_t index, int64_t size) {
    return x.const_data_ptr<float>() + index * size;
}
float* row(at::Tensor& x, int64_t index, int64_t size) {
    return x.mutable_data_ptr<float>() + index * size;
}

/// Calls f(begin, end) for ranges of rows; a float counts for more than a multiplication, since it
/// comes from memory.
template <typename F>
void each_rows(int64_t rows, int64_t size, F f) {
    parallel(rows, 8 * size, f);
}

at::Tensor contiguous_floats(const at::Tensor& x) { return x.to(at::kFloat).contiguous(); }

}  // namespace

bool fits(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

NormedRows rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset) {
    const at::Tensor rows = x.contiguous(), w = contiguous_floats(weight);
    const int64_t size = x.size(-1);
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = 1;
    NormedRows normed{at::empty(x.sizes(), rows.options()), at::empty(shape, rows.options())};
    each_rows(normed.scale.numel(), size, [&](int64_t begin, int64_t end) {
        row_kernels().rms_norm(row(rows, begin, size), row(w, 0, size), static_cast<float>(offset),
                               static_cast<float>(eps), end - begin, size,
                               row(normed.y, begin, size), row(normed.scale, begin, 1));
    });
    return normed;
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& scale, double offset, const at::Tensor& dweight) {
    const at::Tensor dys = dy.contiguous(), rows = x.contiguous(), w = contiguous_floats(weight);
    const int64_t size = x.size(-1), count = scale.numel();
    at::Tensor dx = at::empty(x.sizes(), rows.options());
    float* sums = dweight.defined() ? dweight.mutable_data_ptr<float>() : nullptr;
    const auto run = [&](int64_t begin, int64_t end) {
        row_kernels().rms_norm_backward(row(dys, begin, size), row(rows, begin, size),
                                        row(w, 0, size), static_cast<float>(offset),
                                        row(scale, begin, 1), end - begin, size,
                                        row(dx, begin, size), sums);
    };
    // The weight's gradient is one sum over all rows, in order.
    sums != nullptr ? run(0, count) : each_rows(count, size, run);
    return dx;
}

at::Tensor gated(const at::Tensor& gate_up, bool gelu) {
    const at::Tensor rows = gate_up.contiguous();
    const int64_t size = rows.size(1) / 2;
    at::Tensor y = at::empty({rows.size(0), size}, rows.options());
    each_rows(rows.size(0), 2 * size, [&](int64_t begin, int64_t end) {
        row_kernels().gated(row(rows, begin, 2 * size), gelu, end - begin, size,
                            row(y, begin, size));
    });
    return y;
}

at::Tensor gated_backward(const at::Tensor& dy, const at::Tensor& gate_up, bool gelu) {
    const at::Tensor dys = dy.contiguous(), rows = gate_up.contiguous();
    const int64_t size = rows.size(1) / 2;
    at::Tensor gradient = at::empty(rows.sizes(), rows.options());
    each_rows(rows.size(0), 2 * size, [&](int64_t begin, int64_t end) {
        row_kernels().gated_backward(row(dys, begin, size), row(rows, begin, 2 * size), gelu,
                                     end - begin, size, row(gradient, begin, 2 * size));
    });
    return gradient;
}

at::Tensor softcap(const at::Tensor& x, double cap) {
    at::Tensor y = x.clone(at::MemoryFormat::Contiguous);
    const int64_t size = y.size(-1);
    each_rows(y.numel() / std::max<int64_t>(1, size), 2 * size, [&](int64_t begin, int64_t end) {
        row_kernels().softcap(row(y, begin, size), (end - begin) * size, static_cast<float>(cap));
    });
    return y;
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                double direction) {
    const int64_t heads = x.size(1), dim = x.size(2), rotary = cos.size(-1);
    const bool dense_rows = x.stride(2) == 1 && (heads == 1 || x.stride(1) == dim);
    const at::Tensor rows = dense_rows ? x : x.contiguous();
    at::Tensor y = at::empty({x.size(0), heads, dim}, rows.options());
    each_rows(x.size(0), heads * dim, [&](int64_t begin, int64_t end) {
        const RotaryRows call{.rows = end - begin,
                              .heads = heads,
                              .head_dim = dim,
                              .rotary = rotary,
                              .cos = row(cos, begin, rotary),
                              .sin = row(sin, begin, rotary),
                              .direction = static_cast<float>(direction)};
        row_kernels().rope(call, row(rows, begin, rows.stride(0)), rows.stride(0),
                           row(y, begin, heads * dim), heads * dim);
    });
    return y;
}

std::vector<LogitRow> score(const at::Tensor& logits, const at::Tensor& targets,
                            double temperature) {
    const int64_t count = logits.size(0), size = logits.size(1);
    std::vector<LogitRow> rows(count);
    const int64_t* ids = targets.const_data_ptr<int64_t>();
    each_rows(count, size, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            rows[i].size = size;
            rows[i].target = ids[i];
            rows[i].inverse_temperature = static_cast<float>(1 / temperature);
            row_kernels().score(row(logits, i, size), rows[i]);
        }
    });
    return rows;
}

at::Tensor of_rows(const std::vector<LogitRow>& rows, float LogitRow::*member) {
    at::Tensor values = at::empty({static_cast<int64_t>(rows.size())}, at::kFloat);
    for (size_t i = 0; i < rows.size(); ++i) *row(values, i, 1) = rows[i].*member;
    return values;
}

void score_backward(at::Tensor& logits, const std::vector<LogitRow>& rows, const at::Tensor& dl,
                    const at::Tensor& dh) {
    const int64_t size = logits.size(1);
    const at::Tensor by_logprob = contiguous_floats(dl);
    const at::Tensor by_entropy = dh.defined() ? contiguous_floats(dh) : dh;
    each_rows(logits.size(0), size, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            row_kernels().score_backward(row(logits, i, size), rows[i], *row(by_logprob, i, 1),
                                         by_entropy.defined() ? *row(by_entropy, i, 1) : 0);
        }
    });
}

}  // namespace grpo::cpu
