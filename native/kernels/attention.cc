#include "kernels/attention.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "kernels/attention_block.h"
#include "kernels/attention_keys.h"
#include "kernels/parallel.h"
#include "kernels/row_kernels.h"
#include "kernels/scratch.h"

namespace grpo::cpu {
namespace {

std::vector<FamilyLayout> layouts_of(const std::vector<AttentionFamily>& families,
                                     const AttentionShape& shape) {
    std::vector<FamilyLayout> layouts;
    for (const AttentionFamily& family : families) layouts.emplace_back(family, shape);
    return layouts;
}

/// Blocks [begin, end) of a family and head, which one thread computes.
struct Piece {
    int64_t family, head, begin, end;
    int64_t sums = 0;  // where those of its keys are (KeySums)
};
using Shares = std::vector<std::vector<Piece>>;

/// f(family, head, block) for all.
template <typename F>
void each_block(const std::vector<AttentionFamily>& families, const AttentionShape& shape, F f) {
    for (size_t family = 0; family < families.size(); ++family) {
        for (int64_t head = 0; head < shape.kv_heads; ++head) {
            for (size_t block = 0; block < families[family].size(); ++block)
                f(static_cast<int64_t>(family), head, static_cast<int64_t>(block));
        }
    }
}

/// The blocks of all heads in their order, a share of about the same cost for each thread. So a
/// head is cut where its blocks belong to two threads.
Shares share_out(const std::vector<AttentionFamily>& families, const AttentionShape& shape) {
    const auto cost_of = [&](int64_t family, int64_t block) {
        return 4 * BlockOfHead(families[family][block], shape, 0).scores() * shape.head_dim;
    };
    int64_t all = 0, before = 0;
    each_block(families, shape,
               [&](int64_t family, int64_t, int64_t block) { all += cost_of(family, block); });
    const int64_t most = at::in_parallel_region() ? 1 : at::get_num_threads();
    Shares shares(std::clamp<int64_t>(all / kWorkOfThread, 1, most));
    const auto count = static_cast<int64_t>(shares.size());
    each_block(families, shape, [&](int64_t family, int64_t head, int64_t block) {
        const int64_t cost = cost_of(family, block), twice_middle = 2 * before + cost;
        std::vector<Piece>& share = shares[twice_middle * count / (2 * all)];
        const bool goes_on =
            !share.empty() && share.back().family == family && share.back().head == head;
        if (!goes_on) share.push_back({family, head, block, block});
        ++share.back().end;
        before += cost;
    });
    return shares;
}

/// f(piece) for all, each share on a thread of its own.
template <typename F>
void each_piece(const Shares& shares, F f) {
    const auto count = static_cast<int64_t>(shares.size());
    parallel(count, kWorkOfThread, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            for (const Piece& piece : shares[i]) f(piece);
        }
    });
}

/// Memory of one thread for the blocks of a piece.
class BlockMemory {
  public:
    /// So many arrays for scores, and for the rows of a block.
    BlockMemory(const AttentionFamily& family, const AttentionShape& shape, int64_t of_scores,
                int64_t of_rows) {
        for (const AttentionBlock& whole : family) {
            const BlockOfHead block(whole, shape, 0);
            scores_ = std::max(scores_, block.scores());
            numbers_ = std::max(numbers_, block.numbers());
        }
        static thread_local Scratch scratch;
        free_ = scratch.floats(of_scores * scores_ + of_rows * numbers_);
    }
    float* scores() { return std::exchange(free_, free_ + scores_); }
    float* rows() { return std::exchange(free_, free_ + numbers_); }

  private:
    int64_t scores_ = 0, numbers_ = 0;
    float* free_;
};

/// Sums of the gradients of keys and values, transposed, a pair for each piece: pieces of one head
/// may be computed at a time, and are added in their order.
class KeySums {
  public:
    KeySums(Shares& shares, const std::vector<FamilyLayout>& layouts, const AttentionShape& shape)
        : shares_(shares), layouts_(layouts), shape_(shape) {
        int64_t floats = 0;
        for (std::vector<Piece>& share : shares) {
            for (Piece& piece : share) {
                piece.sums = floats;
                floats += 2 * floats_of(piece);
            }
        }
        memory_ = at::empty({floats}, at::kFloat);
    }

    /// [D, columns of the layout] each, rows `stride` apart.
    struct Sums {
        float *k, *v;
        int64_t stride;
    };
    Sums of(const Piece& piece) const {
        float* first = memory_.mutable_data_ptr<float>() + piece.sums;
        return {first, first + floats_of(piece), stride_of(piece)};
    }
    void clear(const Piece& piece) const { std::fill_n(of(piece).k, 2 * floats_of(piece), 0.0F); }

    /// k and v [N, K, D]
    void add_to(float* k, float* v) const {
        const int64_t heads = shape_.kv_heads, stride = heads * shape_.head_dim;
        const auto count = static_cast<int64_t>(layouts_.size()) * heads;
        parallel(count, kWorkOfPart, [&](int64_t begin, int64_t end) {
            for (const std::vector<Piece>& share : shares_) {
                for (const Piece& piece : share) {
                    const int64_t index = piece.family * heads + piece.head;
                    if (index < begin || index >= end) continue;
                    const int64_t first = piece.head * shape_.head_dim;
                    const Sums sums = of(piece);
                    layouts_[piece.family].add_turned(sums.k, sums.stride, {k + first, stride});
                    layouts_[piece.family].add_turned(sums.v, sums.stride, {v + first, stride});
                }
            }
        });
    }

  private:
    /// An odd number of cache lines, so that rows do not fall into the same places of a cache.
    int64_t stride_of(const Piece& piece) const {
        return layouts_[piece.family].columns() + kPanelColumns / 2;
    }
    int64_t floats_of(const Piece& piece) const { return shape_.head_dim * stride_of(piece); }

    const Shares& shares_;
    const std::vector<FamilyLayout>& layouts_;
    const AttentionShape& shape_;
    at::Tensor memory_;
};

}  // namespace

void attend(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
            const float* q, const float* k, const float* v, float* out, float* log_sum) {
    const auto cap = static_cast<float>(shape.softcap);
    const std::vector<FamilyLayout> layouts = layouts_of(families, shape);
    const PackedHeads keys(layouts, shape, k, PackedHeads::Tokens::kColumns);
    const PackedHeads values(layouts, shape, v, PackedHeads::Tokens::kRows);
    each_piece(share_out(families, shape), [&](const Piece& piece) {
        const AttentionFamily& family = families[piece.family];
        BlockMemory memory(family, shape, 1, 3);
        float *scores = memory.scores(), *queries = memory.rows(), *mixed = memory.rows();
        float* inverses = memory.rows();
        for (int64_t b = piece.begin; b < piece.end; ++b) {
            const BlockOfHead block(family[b], shape, piece.head);
            block.gather(q, queries);
            block.by_both(queries, keys.head(piece.family, piece.head), shape.scale, scores);
            block.each_row([&](const BlockOfHead::Row& row) {
                float* seen = scores + row.start + row.first;
                const int64_t count = row.end - row.first;
                if (cap != 0) row_kernels().softcap(seen, count, cap);
                log_sum[row.number] = row_kernels().softmax_terms(seen, count, inverses[row.index]);
                row.hide_others(scores);
            });
            block.to_queries(scores, inverses, values.head(piece.family, piece.head), 1, mixed);
            block.scatter(mixed, out);
        }
    });
}

void attend_backward(const std::vector<AttentionFamily>& families, const AttentionShape& shape,
                     const float* q, const float* k, const float* v, const float* log_sum,
                     const float* dout, const AttentionGradients& gradients) {
    const auto cap = static_cast<float>(shape.softcap);
    const std::vector<FamilyLayout> layouts = layouts_of(families, shape);
    const PackedHeads keys(layouts, shape, k, PackedHeads::Tokens::kColumns);
    const PackedHeads key_rows(layouts, shape, k, PackedHeads::Tokens::kRows);
    const PackedHeads values(layouts, shape, v, PackedHeads::Tokens::kColumns);
    Shares shares = share_out(families, shape);
    const KeySums key_sums(shares, layouts, shape);
    each_piece(shares, [&](const Piece& piece) {
        const AttentionFamily& family = families[piece.family];
        const FamilyLayout& layout = layouts[piece.family];
        const auto of_head = [&](const PackedHeads& all) {
            return all.head(piece.family, piece.head);
        };
        BlockMemory memory(family, shape, 2, 3);
        float *scores = memory.scores(), *dscores = memory.scores();
        float *queries = memory.rows(), *douts = memory.rows(), *dqueries = memory.rows();
        const KeySums::Sums sums = key_sums.of(piece);
        key_sums.clear(piece);
        for (int64_t b = piece.begin; b < piece.end; ++b) {
            const BlockOfHead block(family[b], shape, piece.head);
            block.gather(q, queries);
            block.gather(dout, douts);
            block.by_both(queries, of_head(keys), shape.scale, scores);
            block.by_both(douts, of_head(values), 1, dscores);
            block.each_row([&](const BlockOfHead::Row& row) {
                float *seen = scores + row.start + row.first,
                      *dseen = dscores + row.start + row.first;
                const int64_t count = row.end - row.first;
                if (cap != 0) row_kernels().softcap(seen, count, cap);
                row_kernels().softmax_backward(seen, dseen, count, log_sum[row.number], cap);
                row.hide_others(scores);
                row.hide_others(dscores);
            });
            block.to_queries(dscores, nullptr, of_head(key_rows), shape.scale, dqueries);
            block.scatter(dqueries, gradients.q);
            block.to_keys(dscores, queries, shape.scale, layout, sums.k, sums.stride);
            block.to_keys(scores, douts, 1, layout, sums.v, sums.stride);
        }
    });
    key_sums.add_to(gradients.k, gradients.v);
}

}  // namespace grpo::cpu
