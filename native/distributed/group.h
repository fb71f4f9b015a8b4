// The ranks of a run: processes that train one model together, each on its part of the batch. Built
// on libtorch's c10d: a TCPStore for finding each other and for who is alive, and Gloo for the
// sums. A group is made, used and let go of by one thread, its engine's; the store is the process's
// own. Knows nothing of Node, of environment variables, or of what is summed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace grpo {

/// How a process joins a group.
struct RankOptions {
    std::string host;     // of the store
    int64_t port = 0;     // of the store
    bool serves = false;  // this process holds the store
    int64_t rank = 0;
    int64_t size = 1;
    std::string name;     // of the group: the same on all ranks, another for each group
    std::string address;  // of this host, which the other ranks connect to
    std::string network;  // interface in place of the address; "": the address
    double timeout = 0;   // seconds that a rank waits for the others

    static void fields(auto& self, auto& field) {
        field("host", self.host);
        field("port", self.port);
        field("serves", self.serves);
        field("rank", self.rank);
        field("size", self.size);
        field("name", self.name);
        field("address", self.address);
        field("network", self.network);
        field("timeout", self.timeout);
    }
};

using Bytes = std::vector<uint8_t>;

class RankGroup {
  public:
    /// Waits until all ranks are there. Throws RANK_FAILED where one does not come.
    static std::unique_ptr<RankGroup> join(const RankOptions& options);
    virtual ~RankGroup() = default;

    // Every rank makes the same calls in the same order; each waits for the others, and throws
    // RANK_FAILED, naming a rank, where one is gone or does not come in time, CANCELLED where
    // `cancelled` says so. After either the group is of no more use.
    using Cancelled = std::function<bool()>;

    /// The sum over the ranks, in place: bit for bit the same on all of them.
    virtual void sum(at::Tensor tensor, const Cancelled& cancelled) = 0;
    /// Rank 0's values, in place.
    virtual void share(at::Tensor tensor, const Cancelled& cancelled) = 0;
    /// What each rank gives, by rank.
    virtual std::vector<Bytes> gather(const Bytes& own, const Cancelled& cancelled) = 0;

    /// Tells the others why this rank comes no more, where it is not because the run is over.
    virtual void leave(const std::string& reason) = 0;
};

}  // namespace grpo
