#include "rollout/token_rules.h"

#include <algorithm>

namespace grpo {
namespace {

void append(std::vector<int32_t>& to, const std::vector<int32_t>& from) {
    to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

TokenRules::TokenRules(const Drawing& drawing)
    : drawing_(&drawing),
      exist_(drawing.min_new_tokens > 0 || drawing.no_repeat_ngram_size > 0 ||
             !drawing.bad_word_ids.empty() || !drawing.suppress_tokens.empty() ||
             !drawing.begin_suppress_tokens.empty() || !drawing.forced_eos_tokens.empty()) {
    const std::vector<int32_t>& never = drawing.suppress_tokens;
    for (const int32_t id : drawing.forced_eos_tokens) {
        if (std::find(never.begin(), never.end(), id) == never.end()) forced_.push_back(id);
    }
}

cpu::Restriction TokenRules::after(std::span<const int32_t> prompt,
                                   std::span<const int32_t> completion) const {
    const auto drawn = static_cast<int64_t>(completion.size());
    if (!forced_.empty() && drawn == drawing_->max_new_tokens - 1)
        return {.ids = forced_, .only_these = true, .allowed = {}};
    std::vector<int32_t> context(prompt.begin(), prompt.end());
    context.insert(context.end(), completion.begin(), completion.end());
    cpu::Restriction barred;
    bar_repeated_ngrams(context, barred.ids);
    bar_bad_words(context, barred.ids);
    if (drawn < drawing_->min_new_tokens) append(barred.ids, drawing_->stop_ids);
    append(barred.ids, drawing_->suppress_tokens);
    if (drawn == 0) append(barred.ids, drawing_->begin_suppress_tokens);
    return barred;
}

void TokenRules::bar_repeated_ngrams(std::span<const int32_t> context,
                                     std::vector<int32_t>& barred) const {
    const auto size = static_cast<size_t>(drawing_->no_repeat_ngram_size);
    if (size == 0 || context.size() < size) return;
    const std::span<const int32_t> begun = context.last(size - 1);
    for (size_t start = 0; start + size <= context.size(); ++start) {
        if (std::equal(begun.begin(), begun.end(), context.begin() + start))
            barred.push_back(context[start + size - 1]);
    }
}

void TokenRules::bar_bad_words(std::span<const int32_t> context,
                               std::vector<int32_t>& barred) const {
    const std::span<const int32_t> all = drawing_->bad_word_ids;
    for (size_t word = 0; word + 1 < drawing_->bad_word_offsets.size(); ++word) {
        const size_t start = drawing_->bad_word_offsets[word];
        const size_t before = drawing_->bad_word_offsets[word + 1] - start - 1;
        if (before > context.size()) continue;
        const std::span<const int32_t> begun = context.last(before);
        if (std::equal(begun.begin(), begun.end(), all.begin() + start))
            barred.push_back(all[start + before]);
    }
}

}  // namespace grpo
