#include "rollout/step_decoder.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>

#include "device.h"
#include "kernels/attend_rows.h"
#include "kernels/parallel.h"
#include "kernels/row_kernels.h"
#include "model/rope.h"

namespace grpo {
namespace {

using cpu::parallel;
using cpu::row_kernels;

/// Queries of one head that read a prompt together: enough to use each key several times, few
/// enough to leave work for every thread.
constexpr int64_t kQueriesTogether = 16;
constexpr int64_t kExpCost = 8;  // multiplications

const float* data(const at::Tensor& tensor) { return tensor.const_data_ptr<float>(); }

}  // namespace

bool StepDecoder::can_run(const Decoder& decoder) {
    const std::vector<BaseLinear>& linears = decoder.base().linears;
    return decoder.device().is_cpu() &&
           std::all_of(linears.begin(), linears.end(), [](const BaseLinear& linear) {
               return cpu::can_store(linear.weight->dtype());
           });
}

StepDecoder::StepDecoder(const Decoder& decoder, const ForwardMode& mode, BlockCache& cache)
    : decoder_(decoder),
      config_(decoder.config()),
      mode_(mode),
      cache_(cache),
      last_norm_(norm_weight(decoder.last_norm(), mode)),
      output_(decoder.output(), mode),
      of_thread_(at::get_num_threads()) {
    for (const DecoderLayer& layer : decoder.layers()) {
        const SelfAttention& attention = layer.attention;
        layers_.push_back({.before_attention = norm_weight(layer.before_attention, mode),
                           .after_attention = norm_weight(layer.after_attention, mode),
                           .before_feed_forward = norm_weight(layer.before_feed_forward, mode),
                           .after_feed_forward = norm_weight(layer.after_feed_forward, mode),
                           .q_norm = norm_weight(attention.q_norm, mode),
                           .k_norm = norm_weight(attention.k_norm, mode),
                           .qkv = DecodeLinear(attention.qkv, mode),
                           .output = DecodeLinear(attention.output, mode),
                           .feed_forward = layer.feed_forward->for_decoding(mode)});
    }
}

void StepDecoder::reserve_positions(int64_t count) {
    if (count <= positions_) return;
    positions_ = std::max(count, std::min(2 * positions_, config_.max_positions));
    const at::Tensor positions = at::arange(positions_, at::kLong);
    ropes_.clear();
    for (const RopeConfig& rope : config_.ropes) {
        RopeTable table = make_rope_table(rope, positions, mode_.context_length, at::kFloat);
        ropes_.push_back({table.cos.contiguous(), table.sin.contiguous()});
    }
}

at::Tensor StepDecoder::norm_weight(const Norm& norm, const ForwardMode& mode) const {
    if (!norm.exists()) return {};
    return (norm.weight(mode).detach().to(at::kFloat) + config_.norm_offset).contiguous();
}

void StepDecoder::normalize(const at::Tensor& weight, const float* x, int64_t size,
                            float* out) const {
    if (!weight.defined()) {
        std::memcpy(out, x, rows_ * size * sizeof(float));
        return;
    }
    const auto eps = static_cast<float>(config_.rms_norm_eps);
    parallel(rows_, 2 * size, [&](int64_t begin, int64_t end) {
        row_kernels().rms_norm(x + begin * size, data(weight), /*offset=*/0, eps, end - begin, size,
                               out + begin * size, /*scale=*/nullptr);
    });
}

void StepDecoder::step(const DecodeRows& rows) {
    rows_ = static_cast<int64_t>(rows.ids.size());
    const int64_t hidden = config_.hidden_size;
    const int64_t queries = config_.num_heads * config_.head_dim;
    const int64_t qkv = queries + 2 * config_.num_kv_heads * config_.head_dim;
    float* free = memory_.floats(rows_ * (3 * hidden + qkv + queries));
    const auto take = [&](int64_t width) { return std::exchange(free, free + rows_ * width); };
    hidden_ = take(hidden);
    normed_ = take(hidden);
    branch_ = take(hidden);
    qkv_ = take(qkv);
    attended_ = take(queries);

    for (int64_t r = 0; r < rows_; ++r) {
        cache_.reserve(r, rows.position(r));
        reserve_positions(rows.position(r) + 1);
    }
    group_rows(rows);
    const at::Tensor embedded =
        decoder_.embed(to_device(rows.ids, at::kCPU), mode_).to(at::kFloat).contiguous();  // [n, C]
    std::memcpy(hidden_, data(embedded), rows_ * hidden * sizeof(float));
    for (int64_t index = 0; index < config_.num_layers; ++index) {
        const Layer& layer = layers_[index];
        normalize(layer.before_attention, hidden_, hidden, normed_);
        self_attention(index, rows);
        add_branch(layer.after_attention);
        normalize(layer.before_feed_forward, hidden_, hidden, normed_);
        layer.feed_forward->forward(normed_, rows_, branch_, workspace_);
        add_branch(layer.after_feed_forward);
    }
    normalize(last_norm_, hidden_, hidden, normed_);
}

const float* StepDecoder::logits(int64_t first, int64_t count) {
    float* logits = logits_.floats(count * config_.vocab_size);
    output_.forward(normed_ + first * config_.hidden_size, count, logits, workspace_);
    if (config_.logit_softcap != 0) {
        const auto cap = static_cast<float>(config_.logit_softcap);
        parallel(count * config_.vocab_size, kExpCost, [&](int64_t begin, int64_t end) {
            row_kernels().softcap(logits + begin, end - begin, cap);
        });
    }
    return logits;
}

void StepDecoder::group_rows(const DecodeRows& rows) {
    const int64_t repeats = config_.num_heads / config_.num_kv_heads;
    const auto limit = static_cast<size_t>(std::max<int64_t>(1, kQueriesTogether / repeats));
    std::vector<int64_t> open(rows.prompt_lengths.size(), -1);  // the group that still has room
    num_groups_ = 0;
    for (int64_t r = 0; r < rows_; ++r) {
        int64_t& group = open[rows.slots[r]];
        if (group < 0 || groups_[group].rows.size() == limit) {
            group = static_cast<int64_t>(num_groups_++);
            if (groups_.size() < num_groups_) groups_.emplace_back();
            groups_[group].slot = rows.slots[r];
            groups_[group].rows.clear();
        }
        groups_[group].rows.push_back(r);
    }
}

void StepDecoder::self_attention(int64_t index, const DecodeRows& rows) {
    const Layer& layer = layers_[index];
    layer.qkv.forward(normed_, rows_, qkv_, workspace_);
    parallel(rows_, kExpCost * 2 * layer.qkv.out(), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) finish_qkv(index, rows, r);
    });
    attend(index, rows);
    layer.output.forward(attended_, rows_, branch_, workspace_);
}

void StepDecoder::finish_qkv(int64_t index, const DecodeRows& rows, int64_t r) {
    const cpu::RowKernels& run = row_kernels();
    const Layer& layer = layers_[index];
    const int64_t heads = config_.num_heads, kv_heads = config_.num_kv_heads,
                  dim = config_.head_dim;
    float* q = qkv_ + r * layer.qkv.out();
    float* k = q + heads * dim;
    const float* v = k + kv_heads * dim;
    const auto norm = [&](const at::Tensor& weight, float* x, int64_t count) {
        if (!weight.defined()) return;
        // Over all heads together, or over each.
        const int64_t size = weight.numel();
        run.rms_norm(x, data(weight), /*offset=*/0, static_cast<float>(config_.rms_norm_eps),
                     count * dim / size, size, x, /*scale=*/nullptr);
    };
    norm(layer.q_norm, q, heads);
    norm(layer.k_norm, k, kv_heads);
    if (const int64_t rope = config_.layers[index].rope; rope >= 0) {
        const int64_t rotary = ropes_[rope].cos.size(2);
        // The keys follow the queries.
        const cpu::RotaryRows call{.rows = 1,
                                   .heads = heads + kv_heads,
                                   .head_dim = dim,
                                   .rotary = rotary,
                                   .cos = data(ropes_[rope].cos) + rows.position(r) * rotary,
                                   .sin = data(ropes_[rope].sin) + rows.position(r) * rotary,
                                   .direction = 1};
        run.rope(call, q, layer.qkv.out(), q, layer.qkv.out());
    }
    for (int64_t head = 0; head < kv_heads; ++head)
        cache_.store(index, r, head, rows.position(r), k + head * dim, v + head * dim);
}

void StepDecoder::attend(int64_t index, const DecodeRows& rows) {
    const int64_t kv_heads = config_.num_kv_heads;
    const int64_t items = static_cast<int64_t>(num_groups_) * kv_heads;
    int64_t keys = 0;
    for (int64_t r = 0; r < rows_; ++r) keys += rows.position(r) + 1;
    const int64_t cost = keys * config_.num_heads * (2 * config_.head_dim + kExpCost) / items;
    parallel(items, cost, [&](int64_t begin, int64_t end) {
        cpu::Scratch& scratch = of_thread_[cpu::thread_index()];
        for (int64_t i = begin; i < end; ++i)
            attend_head(index, rows, groups_[i / kv_heads], i % kv_heads, scratch);
    });
}

void StepDecoder::attend_head(int64_t index, const DecodeRows& rows, const Members& members,
                              int64_t head, cpu::Scratch& scratch) const {
    const int64_t dim = config_.head_dim, repeats = config_.num_heads / config_.num_kv_heads;
    const int64_t window = config_.layers[index].window;
    const int64_t qkv_size = layers_[index].qkv.out(), size = config_.num_heads * dim;
    cpu::HeadAttention::Row lines[kQueriesTogether];
    int64_t count = 0;
    for (const int64_t r : members.rows) {
        const int64_t end = rows.position(r) + 1;
        lines[count++] = {.q = qkv_ + r * qkv_size + head * repeats * dim,
                          .out = attended_ + r * size + head * repeats * dim,
                          .blocks = cache_.row_blocks(r),
                          .first = window == 0 ? 0 : std::max<int64_t>(0, end - window),
                          .end = end};
    }
    cpu::attend({.rows = lines,
                 .num_rows = count,
                 .repeats = repeats,
                 .layout = cache_.pool().layout(),
                 .memory = cache_.pool().head(index, head),
                 .shared = BlockCache::shared_blocks(rows.prompt_lengths[members.slot]),
                 .scale = static_cast<float>(config_.attention_scale),
                 .softcap = static_cast<float>(config_.attention_softcap)},
                scratch);
}

void StepDecoder::add_branch(const at::Tensor& after) {
    const int64_t size = config_.hidden_size;
    const float* branch = branch_;
    if (after.defined()) {
        normalize(after, branch_, size, normed_);
        branch = normed_;
    }
    row_kernels().add(branch, rows_ * size, hidden_);
}

}  // namespace grpo
