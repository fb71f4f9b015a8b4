#include "kernels/attention.h"

#include <algorithm>
#include <cstring>

#include "kernels/parallel.h"
#include "kernels/row_kernels.h"
#include "kernels/scratch.h"

namespace grpo::cpu {
namespace {

/// The rows of one key head.
template <typename T>
struct Rows {
    T* data;
    int64_t stride;
    T* at(int64_t row) const { return data + row * stride; }
};

/// The queries of one block and one key head, as rows beside each other: those of a token's heads
/// follow each other.
class BlockOfHead {
  public:
    BlockOfHead(const AttentionBlock& block, const AttentionShape& shape, int64_t head)
        : block_(block), width_(block.width()), shape_(shape), head_(head) {}

    int64_t rows() const { return block_.count * shape_.repeats(); }
    int64_t scores() const { return rows() * width_; }
    int64_t numbers() const { return rows() * shape_.head_dim; }

    /// [N, H, D] -> the block's rows [rows, D], and back.
    void gather(const float* from, float* to) const {
        const int64_t size = shape_.repeats() * shape_.head_dim;
        for (int64_t i = 0; i < block_.count; ++i)
            std::memcpy(to + i * size, from + place(i), size * sizeof(float));
    }
    void scatter(const float* from, float* to) const {
        const int64_t size = shape_.repeats() * shape_.head_dim;
        for (int64_t i = 0; i < block_.count; ++i)
            std::memcpy(to + place(i), from + i * size, size * sizeof(float));
    }

    /// scores = scale · a bᵀ of rows a [rows, D] and rows b of keys.
    void by_both(const float* a, const Rows<const float>& b, double scale, float* scores) const {
        each_part([&](int64_t row, int64_t rows, int64_t key, int64_t keys, int64_t column) {
            multiply_alone(gemm_kernels(), {.m = rows,
                                            .n = keys,
                                            .k = shape_.head_dim,
                                            .storage = shape_.storage,
                                            .a = {a + row * shape_.head_dim, shape_.head_dim, 1},
                                            .scale = static_cast<float>(scale),
                                            .b = {b.at(key), 1, b.stride},
                                            .c = scores + row * width_ + column,
                                            .c_stride = width_});
        });
    }

    /// out [rows, D] = scale · scores b, summed over keys in the order of their places, two by two.
    void to_queries(const float* scores, const Rows<const float>& b, double scale,
                    float* out) const {
        std::memset(out, 0, numbers() * sizeof(float));
        const auto add = [&](int64_t row, int64_t rows, const float* first, int64_t stride,
                             int64_t keys, int64_t column) {
            if (keys == 0) return;
            multiply_alone(gemm_kernels(), {.m = rows,
                                            .n = shape_.head_dim,
                                            .k = keys,
                                            .storage = shape_.storage,
                                            .a = {scores + row * width_ + column, width_, 1},
                                            .scale = static_cast<float>(scale),
                                            .b = {first, stride, 1},
                                            .c = out + row * shape_.head_dim,
                                            .c_stride = shape_.head_dim,
                                            .add = true});
        };
        const int64_t prompt = block_.prompt_length, odd = prompt % 2;
        add(0, rows(), b.at(block_.prompt_start), b.stride, prompt - odd, 0);
        for (const AttentionBlock::Span& span : block_.spans) {
            const int64_t row = row_of(span), count = span.count * shape_.repeats();
            const float *last = b.at(block_.prompt_start + prompt - 1), *own = b.at(span.start);
            // The pair that has a key of each.
            if (odd != 0) add(row, count, last, own - last, 2, prompt - 1);
            add(row, count, own + odd * b.stride, b.stride, span.keys() - odd, prompt + odd);
        }
    }
    /// out += scale · scoresᵀ a, of every key.
    void to_keys(const float* scores, const float* a, double scale, const Rows<float>& out) const {
        each_part([&](int64_t row, int64_t rows, int64_t key, int64_t keys, int64_t column) {
            multiply_alone(gemm_kernels(), {.m = keys,
                                            .n = shape_.head_dim,
                                            .k = rows,
                                            .storage = shape_.storage,
                                            .a = {scores + row * width_ + column, 1, width_},
                                            .scale = static_cast<float>(scale),
                                            .b = {a + row * shape_.head_dim, shape_.head_dim, 1},
                                            .c = out.at(key),
                                            .c_stride = out.stride,
                                            .add = true});
        });
    }

    /// Calls f(row, its scores, seen) where `seen` are [first, end) of the `computed` ones that its
    /// span has.
    template <typename F>
    void each_row(F f) const {
        for (const AttentionBlock::Span& span : block_.spans) {
            const int64_t computed = block_.keys_of(span);
            for (int64_t i = 0; i < span.count * shape_.repeats(); ++i) {
                const int64_t row = row_of(span) + i;
                const int64_t end =
                    block_.prompt_length + span.first - span.start + i / shape_.repeats() + 1;
                const int64_t first =
                    shape_.window == 0 ? 0 : std::max<int64_t>(0, end - shape_.window);
                f(row, row * width_, first, end, computed);
            }
        }
    }
    /// Index of a row's number in [N, H].
    int64_t number_of(int64_t row) const {
        const int64_t repeats = shape_.repeats();
        return (block_.first + row / repeats) * shape_.heads + head_ * repeats + row % repeats;
    }

  private:
    int64_t place(int64_t query) const {
        return ((block_.first + query) * shape_.heads + head_ * shape_.repeats()) * shape_.head_dim;
    }
    int64_t row_of(const AttentionBlock::Span& span) const {
        return (span.first - block_.first) * shape_.repeats();
    }
    /// Calls f for all rows with the prompt's keys, and for each span with its own.
    template <typename F>
    void each_part(F f) const {
        if (block_.prompt_length > 0)
            f(int64_t{0}, rows(), block_.prompt_start, block_.prompt_length, int64_t{0});
        for (const AttentionBlock::Span& span : block_.spans) {
            f(row_of(span), span.count * shape_.repeats(), span.start, span.keys(),
              block_.prompt_length);
        }
    }

    const AttentionBlock& block_;
    int64_t width_;
    const AttentionShape& shape_;
    int64_t head_;
};

/// Calls f(block of a head, head) for every block and key head; those of one family and head one
/// after the other.
template <typename F>
void each_block(const std::vector<AttentionFamily>& families, const AttentionShape& shape, F f) {
    const auto count = static_cast<int64_t>(families.size());
    int64_t scores = 0;
    for (const AttentionFamily& family : families) {
        for (const AttentionBlock& block : family) scores += block.count * block.width();
    }
    const int64_t cost =
        2 * scores * shape.repeats() * shape.head_dim / std::max<int64_t>(count, 1);
    parallel(count * shape.kv_heads, cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t head = i % shape.kv_heads;
            for (const AttentionBlock& block : families[i / shape.kv_heads])
                f(BlockOfHead(block, shape, head), head);
        }
    });
}

/// Pieces of one thread's memory.
class Pieces {
  public:
    explicit Pieces(int64_t floats) {
        static thread_local Scratch scratch;
        free_ = scratch.floats(floats);
    }
    float* take(int64_t floats) { return std::exchange(free_, free_ + floats); }

  private:
    float* free_;
};

}  // namespace

int64_t AttentionBlock::width() const {
    int64_t most = 0;
    for (const Span& span : spans) most = std::max(most, keys_of(span));
    return most;
}

void attend(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
            const float* q, const float* k, const float* v, float* out, float* log_sum) {
    const int64_t size = shape.head_dim, stride = shape.kv_heads * size;
    const auto cap = static_cast<float>(shape.softcap);
    each_block(families, shape, [&](const BlockOfHead& block, int64_t head) {
        Pieces pieces(block.scores() + 2 * block.numbers());
        float* scores = pieces.take(block.scores());
        float* queries = pieces.take(block.numbers());
        float* mixed = pieces.take(block.numbers());
        block.gather(q, queries);
        block.by_both(queries, {k + head * size, stride}, shape.scale, scores);
        block.each_row([&](int64_t row, int64_t from, int64_t first, int64_t end, int64_t all) {
            float* s = scores + from;
            if (cap != 0) row_kernels().softcap(s + first, end - first, cap);
            log_sum[block.number_of(row)] = row_kernels().softmax(s + first, end - first);
            std::fill(s, s + first, 0.0F);
            std::fill(s + end, s + all, 0.0F);
        });
        block.to_queries(scores, {v + head * size, stride}, 1, mixed);
        block.scatter(mixed, out);
    });
}

void attend_backward(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
                     const float* q, const float* k, const float* v, const float* log_sum,
                     const float* dout, const AttentionGradients& gradients) {
    const int64_t size = shape.head_dim, stride = shape.kv_heads * size;
    const auto cap = static_cast<float>(shape.softcap);
    each_block(families, shape, [&](const BlockOfHead& block, int64_t head) {
        const auto of_key = [&](auto* data) {
            return Rows<std::remove_pointer_t<decltype(data)>>{data + head * size, stride};
        };
        Pieces pieces(2 * block.scores() + 3 * block.numbers());
        float *scores = pieces.take(block.scores()), *dscores = pieces.take(block.scores());
        float* queries = pieces.take(block.numbers());
        float *douts = pieces.take(block.numbers()), *dqueries = pieces.take(block.numbers());
        block.gather(q, queries);
        block.gather(dout, douts);
        block.by_both(queries, of_key(k), shape.scale, scores);
        block.by_both(douts, of_key(v), 1, dscores);
        block.each_row([&](int64_t row, int64_t from, int64_t first, int64_t end, int64_t all) {
            float *s = scores + from, *ds = dscores + from;
            if (cap != 0) row_kernels().softcap(s + first, end - first, cap);
            row_kernels().softmax_backward(s + first, ds + first, end - first,
                                           log_sum[block.number_of(row)], cap);
            for (float* line : {s, ds}) {
                std::fill(line, line + first, 0.0F);
                std::fill(line + end, line + all, 0.0F);
            }
        });
        block.to_queries(dscores, of_key(k), shape.scale, dqueries);
        block.scatter(dqueries, gradients.q);
        block.to_keys(dscores, queries, shape.scale, of_key(gradients.k));
        block.to_keys(scores, douts, 1, of_key(gradients.v));
    });
}

}  // namespace grpo::cpu
