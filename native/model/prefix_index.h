// Which blocks hold the keys and values of which tokens, so that a sequence which begins as one
// before it computes only what is new: a conversation its last turn, a prompt what comes after the
// instructions that all prompts begin with. Blocks are found by the tokens in them and in all
// blocks before them; a last block that is not full counts as far as it agrees. What was used
// longest ago is forgotten first.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/block_pool.h"

namespace grpo {

class PrefixIndex {
  public:
    /// Keeps so many blocks at most.
    PrefixIndex(BlockPool& pool, int64_t most_blocks) : pool_(pool), most_(most_blocks) {}
    ~PrefixIndex() { clear(); }
    PrefixIndex(const PrefixIndex&) = delete;
    PrefixIndex& operator=(const PrefixIndex&) = delete;

    struct Found {
        std::vector<int32_t> blocks;  // blocks_of(tokens), each shared with the caller
        int64_t tokens = 0;
    };
    /// The longest known beginning of `ids`. Sequences of different `policy` have nothing in
    /// common.
    Found find(const std::string& policy, std::span<const int32_t> ids);
    /// blocks [blocks_of(ids)] hold these ids, and those of them do not change any more.
    void insert(const std::string& policy, std::span<const int32_t> ids,
                std::span<const int32_t> blocks);
    void clear();

  private:
    struct Node {
        std::vector<int32_t> tokens;  // of the block, at most kBlockTokens
        int32_t block = -1;
        Node* parent = nullptr;
        uint64_t used = 0;
        std::map<std::vector<int32_t>, std::unique_ptr<Node>> next;  // by their tokens
    };

    /// The child that agrees with most of the first tokens of `ids`, and with how many.
    static std::pair<Node*, int64_t> closest(const Node& node, std::span<const int32_t> ids);
    void touch(Node& node);
    void add(Node& node, std::span<const int32_t> tokens, int32_t block);
    /// A node without children.
    void forget(Node& node);
    bool is_leaf(const Node& node) const { return node.parent != nullptr && node.next.empty(); }

    BlockPool& pool_;
    int64_t most_, size_ = 0;
    uint64_t now_ = 0;
    std::map<std::string, Node> roots_;
    std::set<std::pair<uint64_t, Node*>> leaves_;  // by when they were used
};

}  // namespace grpo
