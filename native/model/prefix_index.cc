#include "model/prefix_index.h"

#include <algorithm>
#include <iterator>

namespace grpo {
namespace {

int64_t agreeing(std::span<const int32_t> a, std::span<const int32_t> b) {
    return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

std::span<const int32_t> first_of(std::span<const int32_t> ids) {
    return ids.first(std::min<size_t>(ids.size(), cpu::kBlockTokens));
}

}  // namespace

std::pair<PrefixIndex::Node*, int64_t> PrefixIndex::closest(const Node& node,
                                                            std::span<const int32_t> ids) {
    const std::span<const int32_t> wanted = first_of(ids);
    // In their order, what agrees most stands beside the place where the wanted ones would be.
    const auto after = node.next.lower_bound(std::vector<int32_t>(wanted.begin(), wanted.end()));
    std::pair<Node*, int64_t> best{nullptr, 0};
    const auto consider = [&](const auto& entry) {
        const int64_t count = agreeing(entry.first, wanted);
        if (count > best.second) best = {entry.second.get(), count};
    };
    if (after != node.next.end()) consider(*after);
    if (after != node.next.begin()) consider(*std::prev(after));
    return best;
}

PrefixIndex::Found PrefixIndex::find(const std::string& policy, std::span<const int32_t> ids) {
    ++now_;
    Found found;
    const auto root = roots_.find(policy);
    Node* node = root == roots_.end() ? nullptr : &root->second;
    while (node != nullptr && !ids.empty()) {
        const auto [next, count] = closest(*node, ids);
        if (next == nullptr) break;
        touch(*next);
        pool_.share(next->block);
        found.blocks.push_back(next->block);
        found.tokens += count;
        ids = ids.subspan(count);
        node = count == cpu::kBlockTokens ? next : nullptr;
    }
    return found;
}

void PrefixIndex::insert(const std::string& policy, std::span<const int32_t> ids,
                         std::span<const int32_t> blocks) {
    ++now_;
    Node* node = &roots_[policy];
    for (size_t i = 0; !ids.empty(); ++i) {
        const std::span<const int32_t> tokens = first_of(ids);
        const auto [known, count] = closest(*node, tokens);
        if (known != nullptr && count == static_cast<int64_t>(tokens.size())) {
            touch(*known);
            node = known;
        } else {
            // A block that the new one begins with has served its time.
            const bool outgrown = known != nullptr && known->next.empty() &&
                                  count == static_cast<int64_t>(known->tokens.size());
            add(*node, tokens, blocks[i]);
            if (outgrown) forget(*known);
            node =
                node->next.find(std::vector<int32_t>(tokens.begin(), tokens.end()))->second.get();
        }
        ids = ids.subspan(tokens.size());
    }
    while (size_ > most_) forget(*leaves_.begin()->second);
}

void PrefixIndex::add(Node& node, std::span<const int32_t> tokens, int32_t block) {
    if (is_leaf(node)) leaves_.erase({node.used, &node});
    auto child = std::make_unique<Node>();
    child->tokens.assign(tokens.begin(), tokens.end());
    child->block = block;
    child->parent = &node;
    child->used = now_;
    pool_.share(block);
    ++size_;
    leaves_.emplace(now_, child.get());
    std::vector<int32_t> key = child->tokens;
    node.next.emplace(std::move(key), std::move(child));
}

void PrefixIndex::touch(Node& node) {
    const bool leaf = is_leaf(node);
    if (leaf) leaves_.erase({node.used, &node});
    node.used = now_;
    if (leaf) leaves_.emplace(now_, &node);
}

void PrefixIndex::forget(Node& node) {
    Node& parent = *node.parent;
    leaves_.erase({node.used, &node});
    pool_.release(node.block);
    --size_;
    parent.next.erase(std::vector<int32_t>(node.tokens));
    if (is_leaf(parent)) leaves_.emplace(parent.used, &parent);
}

void PrefixIndex::clear() {
    while (!leaves_.empty()) forget(*leaves_.begin()->second);
    roots_.clear();
}

}  // namespace grpo
