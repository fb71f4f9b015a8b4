// What other threads ask of a running batch: prompts that enter and leave, and what constrained
// completions may go on with.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "batch.h"

namespace grpo {

class StreamInbox {
  public:
    // Any thread.
    void enter(StreamRequest request);
    void leave(int64_t ticket);
    /// What the next draw of a completion may be, as cpu::Restriction::allowed; empty: anything.
    void allow(int64_t ticket, int64_t sample, std::vector<int32_t> allowed);

    // The batch's thread.
    struct News {
        std::vector<StreamRequest> entered;
        std::vector<int64_t> left;
    };
    /// What was asked since the last call.
    News take();
    /// What was last allowed, once it is; anything for a prompt that has left, and where
    /// `cancelled` says so.
    std::vector<int32_t> wait_allowed(int64_t ticket, int64_t sample,
                                      const std::function<bool()>& cancelled);
    /// The prompt has ended by itself.
    void forget(int64_t ticket);
    void forget_all();

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    News news_;
    std::map<std::pair<int64_t, int64_t>, std::vector<int32_t>> allowed_;  // by ticket and sample
};

}  // namespace grpo
