#include "kernels/team.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace grpo::cpu {
namespace {

/// Looks before a waiting thread offers its core to others: some ten microseconds.
constexpr int kSpins = 1024;

thread_local Team* current_team = nullptr;
thread_local int index_in_team = 0;

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

template <typename F>
void spin_until(const F& done) {
    for (int spins = 0; !done(); ++spins) {
        if (spins < kSpins) {
            relax();
        } else {
            std::this_thread::yield();
        }
    }
}

}  // namespace

Team::Team(int threads) {
    helpers_.reserve(threads - 1);
    try {
        for (int index = 1; index < threads; ++index)
            helpers_.emplace_back([this, index] { help(index); });
    } catch (const std::system_error&) {
        // There are no more threads to be had: those that came do the work.
    }
}

Team::~Team() {
    closing_ = true;
    awake_ = true;
    awake_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
}

Team::Awake::Awake(Team& team) : team_(team), outer_(std::exchange(current_team, &team)) {
    team_.awake_ = true;
    team_.awake_.notify_all();
}

Team::Awake::~Awake() {
    team_.awake_ = false;
    current_team = outer_;
}

Team* Team::current() { return current_team; }
int Team::thread_index() { return index_in_team; }

void Team::run(int64_t count, int64_t grain, Body body, const void* context) {
    grain_ = grain;
    body_ = body;
    context_ = context;
    count_ = count;
    next_ = 0;
    open_ = true;
    work();
    open_ = false;
    spin_until([this] { return inside_ == 0; });
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Team::work() {
    // Large parts first: weights are best read in long runs. Then smaller ones, so that all end
    // together.
    const int64_t count = count_, shares = 2 * (static_cast<int64_t>(helpers_.size()) + 1);
    int64_t begin = next_;
    while (begin < count) {
        const int64_t size = std::max(grain_, (count - begin) / shares);
        const int64_t end = std::min(count, begin + size);
        if (!next_.compare_exchange_weak(begin, end)) continue;
        try {
            body_(context_, begin, end);
        } catch (...) {
            const std::lock_guard lock(failing_);
            failure_ = std::current_exception();
        }
        begin = next_;
    }
}

void Team::help(int index) {
    index_in_team = index;
    while (true) {
        // The next step is often near.
        for (int spins = 0; !awake_ && spins < kSpins; ++spins) relax();
        awake_.wait(false);
        if (closing_) return;
        spin_until([this] { return (open_ && next_ < count_) || !awake_ || closing_; });
        if (closing_) return;
        // Who sees the loop open after this is waited for; who does not, leaves it alone.
        ++inside_;
        if (open_) work();
        --inside_;
    }
}

}  // namespace grpo::cpu
