#include "rollout/stream_inbox.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace grpo {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(20);  // between looks at what no one tells

}  // namespace

void StreamInbox::enter(StreamRequest request) {
    const std::lock_guard lock(mutex_);
    news_.entered.push_back(std::move(request));
    changed_.notify_one();
}

void StreamInbox::leave(int64_t ticket) {
    const std::lock_guard lock(mutex_);
    const auto waiting = std::erase_if(
        news_.entered, [&](const StreamRequest& request) { return request.ticket == ticket; });
    if (waiting == 0) news_.left.push_back(ticket);
    changed_.notify_one();
}

void StreamInbox::allow(int64_t ticket, int64_t sample, std::vector<int32_t> allowed) {
    const std::lock_guard lock(mutex_);
    allowed_[{ticket, sample}] = std::move(allowed);
    changed_.notify_one();
}

StreamInbox::News StreamInbox::take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(news_, {});
}

std::vector<int32_t> StreamInbox::wait_allowed(int64_t ticket, int64_t sample,
                                               const std::function<bool()>& cancelled) {
    std::unique_lock lock(mutex_);
    while (true) {
        if (auto found = allowed_.extract({ticket, sample})) return std::move(found.mapped());
        const std::vector<int64_t>& left = news_.left;
        if (std::find(left.begin(), left.end(), ticket) != left.end() || cancelled()) return {};
        changed_.wait_for(lock, kPatience);
    }
}

void StreamInbox::forget(int64_t ticket) {
    const std::lock_guard lock(mutex_);
    std::erase_if(allowed_, [&](const auto& entry) { return entry.first.first == ticket; });
}

void StreamInbox::forget_all() {
    const std::lock_guard lock(mutex_);
    allowed_.clear();
}

}  // namespace grpo
