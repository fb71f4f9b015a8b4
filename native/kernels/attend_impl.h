// Attention of a decode step (products.h), for kernels_impl.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/products_impl.h"
#include "kernels/row_kernels_impl.h"

namespace grpo::cpu {
namespace {

/// Scores of the queries of row i over its prompt and its own tokens -> probabilities.
template <typename P>
void own_scores(const HeadAttention& a, int64_t i, const float* q, typename P::X* packed,
                float* scores) {
    const HeadAttention::Row& row = a.rows[i];
    pack_rows<P>(q, a.repeats, a.head_dim, packed);
    products<P>(packed, a.repeats, row.own_k, a.head_dim, scores + a.prompt, a.stride, 0, row.own);
    const int64_t count = a.prompt + row.own;
    for (int64_t r = 0; r < a.repeats; ++r, scores += a.stride) {
        if (a.softcap != 0) softcap(scores, count, a.softcap);
        std::memset(scores, 0, row.first * sizeof(float));
        softmax(scores + row.first, count - row.first);
    }
}

/// The prompt's keys and values are read once for the queries of all rows.
template <typename P>
void attend_with(const HeadAttention& a) {
    using T = typename P::Weight;
    const int64_t queries = a.num_rows * a.repeats, dim = a.head_dim, size = a.repeats * dim;
    auto* packed = static_cast<typename P::X*>(a.packed);
    auto* own_packed =
        reinterpret_cast<typename P::X*>(static_cast<char*>(a.packed) + packed_bytes(queries, dim));
    for (int64_t i = 0; i < a.num_rows; ++i) {
        const float* q = a.rows[i].q;
        float* scaled = a.mixed + i * size;
        each_vector(size, [&](int64_t j, int64_t n) { put(scaled, j, n, get(q, j, n) * a.scale); });
    }
    pack_rows<P>(a.mixed, queries, dim, packed);
    products<P>(packed, queries, a.prompt_k, dim, a.scores, a.stride, 0, a.prompt);
    for (int64_t i = 0; i < a.num_rows; ++i)
        own_scores<P>(a, i, a.mixed + i * size, own_packed, a.scores + i * a.repeats * a.stride);

    std::memset(a.mixed, 0, a.num_rows * size * sizeof(float));
    weighted_sums(a.scores, a.stride, queries, static_cast<const T*>(a.prompt_v), a.prompt, dim,
                  a.mixed, dim);
    for (int64_t i = 0; i < a.num_rows; ++i) {
        const HeadAttention::Row& row = a.rows[i];
        float* mixed = a.mixed + i * size;
        weighted_sums(a.scores + i * a.repeats * a.stride + a.prompt, a.stride, a.repeats,
                      static_cast<const T*>(row.own_v), row.own, dim, mixed, dim);
        std::memcpy(row.out, mixed, size * sizeof(float));
    }
}

void attend(const HeadAttention& call) {
    if (call.storage == Storage::kFloat) return attend_with<FloatDot>(call);
    attend_with<HalfDot>(call);
}

}  // namespace
}  // namespace grpo::cpu
