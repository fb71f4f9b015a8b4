#include "kernels/attention.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

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

/// Keys or values of one family and one head, packed once for all blocks: tokens as the columns of
/// [D, tokens], or as the rows of [tokens, D]. Own tokens of a completion begin at an even place of
/// the sequence, as they do in a cache (attend_rows.h): a prompt of odd length lends its last one.
class PackedFamily {
  public:
    PackedFamily(const AttentionFamily& family, const AttentionShape& shape) : shape_(shape) {
        for (const AttentionBlock& block : family) {
            for (const AttentionBlock::Span& span : block.spans) {
                Sequence& sequence = sequences_[span.start];
                sequence.tokens = std::max(sequence.tokens, span.keys());
                sequence.prompt_start = block.prompt_start;
                sequence.prompt = block.prompt_length;
                // A prompt whose own queries are elsewhere is read all the same.
                if (block.prompt_length > 0) {
                    Sequence& prompt = sequences_[block.prompt_start];
                    prompt.tokens = std::max(prompt.tokens, block.prompt_length);
                }
            }
        }
    }

    /// Words of one packed form of all sequences.
    int64_t column_words() const {
        return sum([&](const Sequence& s) { return panels_of(s.tokens) * column_panel_words(); });
    }
    int64_t row_words() const {
        return sum(
            [&](const Sequence& s) { return panels_of(shape_.head_dim) * row_panel_words(s); });
    }

    void pack_columns(const Rows<const float>& from, uint32_t* words) {
        for (auto& [start, sequence] : sequences_) {
            sequence.columns = {words, column_panel_words(), kPanelColumns};
            pack({from.at(start), 1, from.stride}, shape_.head_dim, sequence.tokens, words,
                 column_panel_words());
            words += panels_of(sequence.tokens) * column_panel_words();
        }
    }
    void pack_rows(const Rows<const float>& from, uint32_t* words) {
        for (auto& [start, sequence] : sequences_) {
            const int64_t panel = row_panel_words(sequence), dim = shape_.head_dim;
            sequence.rows = {words, panel, kPanelColumns};
            uint32_t* to = words;
            const float *own = from.at(start), *own_end = from.at(start + sequence.tokens);
            if (sequence.lent() != 0) {
                const float* last = from.at(sequence.prompt_start + sequence.prompt - 1);
                const int64_t count = std::min<int64_t>(2, 1 + sequence.tokens);
                pack({last, own - last, 1}, count, dim, to, panel);
                own += from.stride;
                to += steps_of(shape_.storage, 2) * kPanelColumns;
            }
            const int64_t rest = (own_end - own) / from.stride;
            if (rest > 0) pack({own, from.stride, 1}, rest, dim, to, panel);
            words += panels_of(dim) * panel;
        }
    }

    const Panels& columns(int64_t start) const { return sequences_.at(start).columns; }
    const Panels& rows(int64_t start) const { return sequences_.at(start).rows; }

  private:
    struct Sequence {
        int64_t tokens = 0, prompt_start = 0, prompt = 0;
        Panels columns = {}, rows = {};
        int64_t lent() const { return prompt % 2; }
    };

    int64_t column_panel_words() const {
        return steps_of(shape_.storage, shape_.head_dim) * kPanelColumns;
    }
    int64_t row_panel_words(const Sequence& sequence) const {
        return steps_of(shape_.storage, sequence.lent() + sequence.tokens) * kPanelColumns;
    }
    template <typename F>
    int64_t sum(F words) const {
        int64_t all = 0;
        for (const auto& [start, sequence] : sequences_) all += words(sequence);
        return all;
    }
    void pack(const Matrix& b, int64_t k, int64_t n, uint32_t* words, int64_t panel_words) const {
        gemm_kernels().pack_panels(shape_.storage, b, k, n, words, panel_words);
    }

    const AttentionShape& shape_;
    std::map<int64_t, Sequence> sequences_;  // by their first token
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

    /// scores = scale · a bᵀ of rows a [rows, D] and columns b of keys.
    void by_both(const float* a, const PackedFamily& b, double scale, float* scores) const {
        each_part([&](int64_t row, int64_t rows, int64_t key, int64_t keys, int64_t column) {
            multiply_alone(gemm_kernels(), {.m = rows,
                                            .n = keys,
                                            .k = shape_.head_dim,
                                            .storage = shape_.storage,
                                            .a = {a + row * shape_.head_dim, shape_.head_dim, 1},
                                            .scale = static_cast<float>(scale),
                                            .form = Form::kPanels,
                                            .panels = b.columns(key),
                                            .c = scores + row * width_ + column,
                                            .c_stride = width_});
        });
    }

    /// out [rows, D] = scale · scores b with rows b of keys.
    void to_queries(const float* scores, const PackedFamily& b, double scale, float* out) const {
        std::memset(out, 0, numbers() * sizeof(float));
        const auto add = [&](int64_t row, int64_t rows, int64_t start, int64_t keys,
                             int64_t column) {
            if (keys == 0) return;
            multiply_alone(gemm_kernels(), {.m = rows,
                                            .n = shape_.head_dim,
                                            .k = keys,
                                            .storage = shape_.storage,
                                            .a = {scores + row * width_ + column, width_, 1},
                                            .scale = static_cast<float>(scale),
                                            .form = Form::kPanels,
                                            .panels = b.rows(start),
                                            .c = out + row * shape_.head_dim,
                                            .c_stride = shape_.head_dim,
                                            .add = true});
        };
        const int64_t prompt = block_.prompt_length, lent = prompt % 2;
        add(0, rows(), block_.prompt_start, prompt - lent, 0);
        for (const AttentionBlock::Span& span : block_.spans) {
            add(row_of(span), span.count * shape_.repeats(), span.start, lent + span.keys(),
                prompt - lent);
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

/// Calls f(family, head) for every family and key head.
template <typename F>
void each_family(const std::vector<AttentionFamily>& families, const AttentionShape& shape, F f) {
    const auto count = static_cast<int64_t>(families.size());
    int64_t scores = 0;
    for (const AttentionFamily& family : families) {
        for (const AttentionBlock& block : family) scores += block.count * block.width();
    }
    const int64_t cost =
        2 * scores * shape.repeats() * shape.head_dim / std::max<int64_t>(count, 1);
    parallel(count * shape.kv_heads, cost, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) f(families[i / shape.kv_heads], i % shape.kv_heads);
    });
}

/// The most scores, and numbers of rows, that a block of a family has.
struct Largest {
    int64_t scores = 0, numbers = 0;
};
Largest largest_of(const AttentionFamily& family, const AttentionShape& shape, int64_t head) {
    Largest largest;
    for (const AttentionBlock& whole : family) {
        const BlockOfHead block(whole, shape, head);
        largest.scores = std::max(largest.scores, block.scores());
        largest.numbers = std::max(largest.numbers, block.numbers());
    }
    return largest;
}

/// Pieces of one thread's memory, in words of 32 bits.
class Pieces {
  public:
    explicit Pieces(int64_t words) {
        static thread_local Scratch scratch;
        free_ = scratch.floats(words);
    }
    float* floats(int64_t count) { return std::exchange(free_, free_ + count); }
    uint32_t* words(int64_t count) { return reinterpret_cast<uint32_t*>(floats(count)); }

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
    each_family(families, shape, [&](const AttentionFamily& family, int64_t head) {
        const auto [most_scores, most_numbers] = largest_of(family, shape, head);
        PackedFamily keys(family, shape);
        const int64_t columns = keys.column_words(), rows = keys.row_words();
        Pieces pieces(columns + rows + most_scores + 2 * most_numbers);
        keys.pack_columns({k + head * size, stride}, pieces.words(columns));
        keys.pack_rows({v + head * size, stride}, pieces.words(rows));
        float* scores = pieces.floats(most_scores);
        float *queries = pieces.floats(most_numbers), *mixed = pieces.floats(most_numbers);
        for (const AttentionBlock& whole : family) {
            const BlockOfHead block(whole, shape, head);
            block.gather(q, queries);
            block.by_both(queries, keys, shape.scale, scores);
            block.each_row([&](int64_t row, int64_t from, int64_t first, int64_t end, int64_t all) {
                float* s = scores + from;
                if (cap != 0) row_kernels().softcap(s + first, end - first, cap);
                log_sum[block.number_of(row)] = row_kernels().softmax(s + first, end - first);
                std::fill(s, s + first, 0.0F);
                std::fill(s + end, s + all, 0.0F);
            });
            block.to_queries(scores, keys, 1, mixed);
            block.scatter(mixed, out);
        }
    });
}

void attend_backward(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
                     const float* q, const float* k, const float* v, const float* log_sum,
                     const float* dout, const AttentionGradients& gradients) {
    const int64_t size = shape.head_dim, stride = shape.kv_heads * size;
    const auto cap = static_cast<float>(shape.softcap);
    each_family(families, shape, [&](const AttentionFamily& family, int64_t head) {
        const auto [most_scores, most_numbers] = largest_of(family, shape, head);
        PackedFamily keys(family, shape), values(family, shape);
        const int64_t columns = keys.column_words(), rows = keys.row_words();
        Pieces pieces(2 * columns + rows + 2 * most_scores + 3 * most_numbers);
        keys.pack_columns({k + head * size, stride}, pieces.words(columns));
        keys.pack_rows({k + head * size, stride}, pieces.words(rows));
        values.pack_columns({v + head * size, stride}, pieces.words(columns));
        float *scores = pieces.floats(most_scores), *dscores = pieces.floats(most_scores);
        float *queries = pieces.floats(most_numbers), *douts = pieces.floats(most_numbers);
        float* dqueries = pieces.floats(most_numbers);
        for (const AttentionBlock& whole : family) {
            const BlockOfHead block(whole, shape, head);
            block.gather(q, queries);
            block.gather(dout, douts);
            block.by_both(queries, keys, shape.scale, scores);
            block.by_both(douts, values, 1, dscores);
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
            block.to_queries(dscores, keys, shape.scale, dqueries);
            block.scatter(dqueries, gradients.q);
            block.to_keys(dscores, queries, shape.scale, {gradients.k + head * size, stride});
            block.to_keys(scores, douts, 1, {gradients.v + head * size, stride});
        }
    });
}

}  // namespace grpo::cpu
