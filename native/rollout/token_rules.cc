#include "rollout/token_rules.h"

#include <algorithm>

namespace grpo {
namespace {

void append(std::vector<int32_t>& to, const std::vector<int32_t>& from) {
    to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

TokenRules::TokenRules(const SampleRequest& request)
    : request_(request),
      exist_(request.min_new_tokens > 0 || request.no_repeat_ngram_size > 0 ||
             !request.bad_word_ids.empty() || !request.suppress_tokens.empty() ||
             !request.begin_suppress_tokens.empty() || !request.forced_eos_tokens.empty()) {
    const std::vector<int32_t>& never = request.suppress_tokens;
    for (const int32_t id : request.forced_eos_tokens) {
        if (std::find(never.begin(), never.end(), id) == never.end()) forced_.push_back(id);
    }
}

cpu::Restriction TokenRules::after(std::span<const int32_t> prompt,
                                   std::span<const int32_t> completion) const {
    const auto drawn = static_cast<int64_t>(completion.size());
    if (!forced_.empty() && drawn == request_.max_new_tokens - 1)
        return {.ids = forced_, .only_these = true};
    std::vector<int32_t> context(prompt.begin(), prompt.end());
    context.insert(context.end(), completion.begin(), completion.end());
    cpu::Restriction barred;
    bar_repeated_ngrams(context, barred.ids);
    bar_bad_words(context, barred.ids);
    if (drawn < request_.min_new_tokens) append(barred.ids, request_.stop_ids);
    append(barred.ids, request_.suppress_tokens);
    if (drawn == 0) append(barred.ids, request_.begin_suppress_tokens);
    return barred;
}

void TokenRules::bar_repeated_ngrams(std::span<const int32_t> context,
                                     std::vector<int32_t>& barred) const {
    const auto size = static_cast<size_t>(request_.no_repeat_ngram_size);
    if (size == 0 || context.size() < size) return;
    const std::span<const int32_t> begun = context.last(size - 1);
    for (size_t start = 0; start + size <= context.size(); ++start) {
        if (std::equal(begun.begin(), begun.end(), context.begin() + start))
            barred.push_back(context[start + size - 1]);
    }
}

void TokenRules::bar_bad_words(std::span<const int32_t> context,
                               std::vector<int32_t>& barred) const {
    const std::span<const int32_t> all = request_.bad_word_ids;
    for (size_t word = 0; word + 1 < request_.bad_word_offsets.size(); ++word) {
        const size_t start = request_.bad_word_offsets[word];
        const size_t before = request_.bad_word_offsets[word + 1] - start - 1;
        if (before > context.size()) continue;
        const std::span<const int32_t> begun = context.last(before);
        if (std::equal(begun.begin(), begun.end(), all.begin() + start))
            barred.push_back(all[start + before]);
    }
}

}  // namespace grpo
