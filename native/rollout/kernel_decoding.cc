#include "rollout/kernel_decoding.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <iterator>

#include "engine_limits.h"
#include "model/part_attention.h"

namespace grpo {

KernelDecoding::KernelDecoding(const Decoder& decoder, const ForwardMode& mode, BlockPool& pool,
                               PrefixIndex* index, const std::string& policy)
    : decoder_(decoder),
      cache_(decoder.config(), pool, index, policy),
      team_(at::get_num_threads()),
      step_decoder_(decoder, mode, cache_),
      sampler_(decoder.config().vocab_size) {}

std::shared_ptr<Attention> KernelDecoding::attention(const std::vector<PromptPart>& parts,
                                                     bool whole) {
    if (!whole) return std::make_shared<PartAttention>(decoder_.config(), cache_, parts);
    return whole_prompts(decoder_, cache_, parts);
}

std::vector<cpu::DrawnToken> KernelDecoding::draw_first(const at::Tensor& logits,
                                                        const std::vector<int64_t>& prompt_of_row,
                                                        const std::vector<cpu::RowDraw>& rows) {
    std::vector<const float*> of_row;
    for (const int64_t prompt : prompt_of_row)
        of_row.push_back(logits.const_data_ptr<float>() + prompt * logits.size(1));
    return sampler_.draw(of_row, rows);
}

std::vector<cpu::DrawnToken> KernelDecoding::step(const DecodeRows& rows, const Draws& draws) {
    const cpu::Team::Awake awake(team_);
    step_decoder_.step(rows);
    const std::vector<cpu::RowDraw> all = draws();
    const auto total = static_cast<int64_t>(all.size());
    const int64_t vocabulary = decoder_.config().vocab_size;
    std::vector<cpu::DrawnToken> drawn;
    for (int64_t first = 0; first < total; first += kLimits.logit_rows) {
        const int64_t count = std::min(kLimits.logit_rows, total - first);
        const float* logits = step_decoder_.logits(first, count);
        std::vector<const float*> of_row;
        for (int64_t i = 0; i < count; ++i) of_row.push_back(logits + i * vocabulary);
        const auto part = sampler_.draw(of_row, {all.begin() + first, all.begin() + first + count});
        drawn.insert(drawn.end(), part.begin(), part.end());
    }
    return drawn;
}

void KernelDecoding::close_row(int64_t row, std::span<const int32_t> ids) {
    cache_.close_row(row, ids);
}

}  // namespace grpo
