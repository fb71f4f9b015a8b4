#include "kernels/attention.h"

#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "kernels/parallel.h"
#include "kernels/row_kernels.h"

namespace grpo::cpu {
namespace {

/// The rows of one head.
template <typename T>
struct Rows {
    T* data;
    int64_t stride;
    T* at(int64_t row) const { return data + row * stride; }
};

/// One block of one head.
class BlockOfHead {
  public:
    BlockOfHead(const AttentionBlock& block, const AttentionShape& shape)
        : block_(block), width_(block.width()), shape_(shape) {}

    int64_t elements() const { return block_.count * width_; }

    /// scores = scale · a bᵀ, a rows of queries and b rows of keys.
    void by_both(const Rows<const float>& a, const Rows<const float>& b, double scale,
                 float* scores) const {
        each_part([&](int64_t query, int64_t queries, int64_t key, int64_t keys, int64_t from) {
            multiply(gemm_kernels(), {.m = queries,
                                      .n = keys,
                                      .k = shape_.head_dim,
                                      .a = {a.at(query), Storage::kFloat, a.stride, 1},
                                      .b = {b.at(key), Storage::kFloat, 1, b.stride},
                                      .c = scores + from,
                                      .c_stride = width_,
                                      .scale = static_cast<float>(scale)});
        });
    }
    /// out += scale · scores b, of every query.
    void to_queries(const float* scores, const Rows<const float>& b, double scale,
                    const Rows<float>& out) const {
        each_part([&](int64_t query, int64_t queries, int64_t key, int64_t keys, int64_t from) {
            multiply(gemm_kernels(), {.m = queries,
                                      .n = shape_.head_dim,
                                      .k = keys,
                                      .a = {scores + from, Storage::kFloat, width_, 1},
                                      .b = {b.at(key), Storage::kFloat, b.stride, 1},
                                      .c = out.at(query),
                                      .c_stride = out.stride,
                                      .scale = static_cast<float>(scale),
                                      .add = true});
        });
    }
    /// out += scale · scoresᵀ a, of every key.
    void to_keys(const float* scores, const Rows<const float>& a, double scale,
                 const Rows<float>& out) const {
        each_part([&](int64_t query, int64_t queries, int64_t key, int64_t keys, int64_t from) {
            multiply(gemm_kernels(), {.m = keys,
                                      .n = shape_.head_dim,
                                      .k = queries,
                                      .a = {scores + from, Storage::kFloat, 1, width_},
                                      .b = {a.at(query), Storage::kFloat, a.stride, 1},
                                      .c = out.at(key),
                                      .c_stride = out.stride,
                                      .scale = static_cast<float>(scale),
                                      .add = true});
        });
    }

    /// Calls f(query, its first score, the keys that it sees, those that its span computes).
    template <typename F>
    void each_query(F f) const {
        for (const AttentionBlock::Span& span : block_.spans) {
            for (int64_t query = span.first; query < span.first + span.count; ++query) {
                f(query, (query - block_.first) * width_,
                  block_.prompt_length + query + 1 - span.start, block_.keys_of(span));
            }
        }
    }

  private:
    /// Calls f for all queries with the prompt's keys, and for each span with its own.
    template <typename F>
    void each_part(F f) const {
        if (block_.prompt_length > 0)
            f(block_.first, block_.count, block_.prompt_start, block_.prompt_length, int64_t{0});
        for (const AttentionBlock::Span& span : block_.spans) {
            f(span.first, span.count, span.start, span.keys(),
              (span.first - block_.first) * width_ + block_.prompt_length);
        }
    }

    const AttentionBlock& block_;
    int64_t width_;
    const AttentionShape& shape_;
};

/// Calls f(block, head) for every block; those of one family and head one after the other.
template <typename F>
void each_block(const std::vector<AttentionFamily>& families, const AttentionShape& shape, F f) {
    const auto count = static_cast<int64_t>(families.size());
    int64_t scores = 0;
    for (const AttentionFamily& family : families) {
        for (const AttentionBlock& block : family) scores += block.count * block.width();
    }
    const int64_t cost = 2 * scores * shape.head_dim / std::max<int64_t>(count, 1);
    parallel(count * shape.heads, cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            for (const AttentionBlock& block : families[i / shape.heads])
                f(BlockOfHead(block, shape), i % shape.heads);
        }
    });
}

template <typename T>
Rows<T> rows_of(T* data, int64_t heads, int64_t head, int64_t head_dim) {
    return {data + head * head_dim, heads * head_dim};
}

Scratch& scratch() {
    static thread_local Scratch scratch;
    return scratch;
}

}  // namespace

int64_t AttentionBlock::width() const {
    int64_t most = 0;
    for (const Span& span : spans) most = std::max(most, keys_of(span));
    return most;
}

void attend(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
            const float* q, const float* k, const float* v, float* out, float* log_sum) {
    const int64_t heads = shape.heads, size = shape.head_dim;
    each_block(families, shape, [&](const BlockOfHead& block, int64_t head) {
        const int64_t kv_head = head * shape.kv_heads / heads;
        float* scores = scratch().floats(block.elements());
        block.by_both(rows_of(q, heads, head, size), rows_of(k, shape.kv_heads, kv_head, size),
                      shape.scale, scores);
        block.each_query([&](int64_t query, int64_t from, int64_t seen, int64_t computed) {
            log_sum[query * heads + head] = row_kernels().softmax(scores + from, seen);
            std::fill(scores + from + seen, scores + from + computed, 0.0F);
        });
        block.to_queries(scores, rows_of(v, shape.kv_heads, kv_head, size), 1,
                         rows_of(out, heads, head, size));
    });
}

void attend_backward(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
                     const float* q, const float* k, const float* v, const float* out,
                     const float* log_sum, const float* dout, const AttentionGradients& gradients) {
    const int64_t heads = shape.heads, size = shape.head_dim;
    each_block(families, shape, [&](const BlockOfHead& block, int64_t head) {
        const int64_t kv_head = head * shape.kv_heads / heads;
        const auto of_query = [&](auto* data) { return rows_of(data, heads, head, size); };
        const auto of_key = [&](auto* data) {
            return rows_of(data, shape.kv_heads, kv_head, size);
        };
        float* scores = scratch().floats(2 * block.elements());
        float* dscores = scores + block.elements();
        block.by_both(of_query(q), of_key(k), shape.scale, scores);
        block.by_both(of_query(dout), of_key(v), 1, dscores);
        block.each_query([&](int64_t query, int64_t from, int64_t seen, int64_t computed) {
            row_kernels().softmax_backward(scores + from, dscores + from, seen,
                                           log_sum[query * heads + head], of_query(out).at(query),
                                           of_query(dout).at(query), size);
            std::fill(scores + from + seen, scores + from + computed, 0.0F);
            std::fill(dscores + from + seen, dscores + from + computed, 0.0F);
        });
        block.to_queries(dscores, of_key(k), shape.scale, of_query(gradients.q));
        block.to_keys(dscores, of_query(q), shape.scale, of_query(gradients.k));
        block.to_keys(scores, of_query(dout), 1, of_query(gradients.v));
    });
}

}  // namespace grpo::cpu
