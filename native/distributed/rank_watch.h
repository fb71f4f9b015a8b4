// Who of the ranks is alive, and who is missing: each rank counts up a number of its own in the
// store as long as its process runs, and says there at which exchange it is, and why it leaves.
#pragma once

#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace grpo {

class RankWatch {
  public:
    /// `beats`: a connection of its own, as one that waits for a value is not free for others.
    RankWatch(c10::intrusive_ptr<c10d::Store> store, c10::intrusive_ptr<c10d::Store> beats,
              int64_t rank, int64_t size);
    ~RankWatch();
    RankWatch(const RankWatch&) = delete;
    RankWatch& operator=(const RankWatch&) = delete;

    /// The exchange of this number comes next.
    void arrive(int64_t exchange);
    /// This rank comes no more.
    void leave(const std::string& reason);
    /// Which rank keeps exchange `exchange` from going on, in words. Takes up to two seconds.
    std::string missing(int64_t exchange) const;

  private:
    struct Beat;
    std::string left() const;
    std::string silent() const;
    std::string late(int64_t exchange) const;

    c10::intrusive_ptr<c10d::Store> store_;
    int64_t rank_;
    int64_t size_;
    std::shared_ptr<Beat> beat_;
};

}  // namespace grpo
