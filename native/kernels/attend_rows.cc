#include "kernels/attend_rows.h"

#include <algorithm>
#include <cstring>

#include "kernels/row_kernels.h"

namespace grpo::cpu {
namespace {

/// c [rows, n] (+)= scale · a b.
struct Part {
    int64_t rows;
    Matrix a;
    float scale;
    int64_t k, n;
    Panels panels;
    float* c;
    int64_t c_stride;
    bool add;
};

void multiply(const HeadAttention& call, const Part& part) {
    if (part.n == 0 || part.k == 0) return;
    multiply_alone(gemm_kernels(), {.m = part.rows,
                                    .n = part.n,
                                    .k = part.k,
                                    .storage = call.layout.storage(),
                                    .a = part.a,
                                    .scale = part.scale,
                                    .form = Form::kPanels,
                                    .panels = part.panels,
                                    .c = part.c,
                                    .c_stride = part.c_stride,
                                    .add = part.add});
}

}  // namespace

void attend(const HeadAttention& call, Scratch& scratch) {
    const HeadLayout& layout = call.layout;
    const int64_t dim = layout.head_dim(), repeats = call.repeats, size = repeats * dim;
    const int64_t rows = call.num_rows * repeats, prompt = call.prompt;
    int64_t stride = 0;
    for (int64_t i = 0; i < call.num_rows; ++i)
        stride = std::max(stride, prompt + call.rows[i].own);
    float* scores = scratch.floats(rows * (stride + 2 * dim));
    float* queries = scores + rows * stride;
    float* mixed = queries + rows * dim;
    for (int64_t i = 0; i < call.num_rows; ++i)
        std::memcpy(queries + i * size, call.rows[i].q, size * sizeof(float));
    std::memset(mixed, 0, rows * dim * sizeof(float));

    const auto with_keys = [&](int64_t first, int64_t count, const uint32_t* keys, int64_t tokens,
                               int64_t column) {
        multiply(call, {count,
                        {queries + first * dim, dim, 1},
                        call.scale,
                        dim,
                        tokens,
                        layout.keys(keys),
                        scores + first * stride + column,
                        stride,
                        false});
    };
    const auto with_values = [&](int64_t first, int64_t count, const uint32_t* values,
                                 int64_t tokens, int64_t column) {
        multiply(call, {count,
                        {scores + first * stride + column, stride, 1},
                        1,
                        tokens,
                        dim,
                        layout.values(values),
                        mixed + first * dim,
                        dim,
                        true});
    };
    with_keys(0, rows, call.prompt_keys, prompt, 0);
    for (int64_t i = 0; i < call.num_rows; ++i) {
        const HeadAttention::Row& row = call.rows[i];
        with_keys(i * repeats, repeats, row.keys, row.own, prompt);
        for (int64_t r = 0; r < repeats; ++r) {
            float* s = scores + (i * repeats + r) * stride;
            const int64_t count = prompt + row.own - row.first;
            if (call.softcap != 0) row_kernels().softcap(s + row.first, count, call.softcap);
            row_kernels().softmax(s + row.first, count);
            std::fill(s, s + row.first, 0.0F);
        }
    }
    with_values(0, rows, call.prompt_values, prompt, 0);
    for (int64_t i = 0; i < call.num_rows; ++i) {
        const HeadAttention::Row& row = call.rows[i];
        with_values(i * repeats, repeats, row.values, row.own, prompt);
        std::memcpy(row.out, mixed + i * size, size * sizeof(float));
    }
}

}  // namespace grpo::cpu
