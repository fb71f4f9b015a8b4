#include "rollout/decoding.h"

namespace grpo {

std::shared_ptr<Attention> whole_prompts(const Decoder& decoder, RolloutCache& cache,
                                         const std::vector<PromptPart>& prompts) {
    PackedLayout layout;
    for (const PromptPart& prompt : prompts) layout.prompt_lengths.push_back(prompt.count);
    auto attention = std::make_shared<PackedAttention>(
        decoder.config(), std::move(layout), decoder.dtype(), decoder.device(), decoder.storage());
    attention->store_prompts(&cache, prompts);
    return attention;
}

}  // namespace grpo
