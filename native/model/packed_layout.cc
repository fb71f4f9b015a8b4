#include "model/packed_layout.h"

#include <numeric>

namespace grpo {
namespace {

int64_t sum(const std::vector<int64_t>& values) {
    return std::accumulate(values.begin(), values.end(), int64_t{0});
}

}  // namespace

int64_t PackedLayout::num_prompt_tokens() const { return sum(prompt_lengths); }
int64_t PackedLayout::num_completion_tokens() const { return sum(completion_lengths); }

std::vector<int64_t> PackedLayout::positions() const {
    std::vector<int64_t> positions;
    positions.reserve(num_prompt_tokens() + num_completion_tokens());
    for (const int64_t length : prompt_lengths) {
        for (int64_t t = 0; t < length; ++t) positions.push_back(t);
    }
    for (size_t b = 0; b < completion_lengths.size(); ++b) {
        const int64_t start = prompt_lengths[prompt_of[b]];
        for (int64_t t = 0; t < completion_lengths[b]; ++t) positions.push_back(start + t);
    }
    return positions;
}

}  // namespace grpo
