#include "rollout/stream_inbox.h"

#include <algorithm>
#include <chrono>

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

void StreamInbox::close() {
    const std::lock_guard lock(mutex_);
    news_.closed = true;
}

void StreamInbox::open() {
    const std::lock_guard lock(mutex_);
    news_.closed = false;
}

StreamInbox::News StreamInbox::take() {
    const std::lock_guard lock(mutex_);
    News news{.entered = {}, .left = std::move(news_.left), .closed = news_.closed};
    news_.left.clear();
    if (!news.closed) std::swap(news.entered, news_.entered);
    return news;
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

}  // namespace grpo
