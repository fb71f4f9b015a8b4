#include "distributed/rank_watch.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace grpo {
namespace {

constexpr std::chrono::milliseconds kBeat{300};
/// Within it a process that runs has counted on.
constexpr std::chrono::milliseconds kSilence{1500};

std::string key(const char* what, int64_t rank) { return what + std::to_string(rank); }

}  // namespace

struct RankWatch::Beat {
    std::mutex mutex;
    std::condition_variable wake;
    bool over = false;
};

RankWatch::RankWatch(c10::intrusive_ptr<c10d::Store> store, c10::intrusive_ptr<c10d::Store> beats,
                     int64_t rank, int64_t size)
    : store_(std::move(store)), rank_(rank), size_(size), beat_(std::make_shared<Beat>()) {
    // Detached: a store that is gone may keep a call for long, and nobody should wait for that.
    std::thread([beat = beat_, beats = std::move(beats), name = key("beat/", rank)] {
        std::unique_lock lock(beat->mutex);
        while (!beat->over) {
            lock.unlock();
            try {
                beats->add(name, 1);
            } catch (const std::exception&) {
                return;  // without a store there is nobody to tell
            }
            lock.lock();
            beat->wake.wait_for(lock, kBeat, [&] { return beat->over; });
        }
    }).detach();
}

RankWatch::~RankWatch() {
    {
        const std::lock_guard lock(beat_->mutex);
        beat_->over = true;
    }
    beat_->wake.notify_all();
}

void RankWatch::arrive(int64_t exchange) {
    const std::string text = std::to_string(exchange);
    store_->set(key("at/", rank_), std::vector<uint8_t>(text.begin(), text.end()));
}

void RankWatch::leave(const std::string& reason) {
    store_->set(key("left/", rank_), std::vector<uint8_t>(reason.begin(), reason.end()));
}

std::string RankWatch::missing(int64_t exchange) const {
    try {
        // A rank that fails says so before it closes its connections, but may be read a little
        // later.
        for (std::string text : {left(), silent(), left(), late(exchange)}) {
            if (!text.empty()) return text;
        }
        return "";
    } catch (const std::exception&) {
        return "rank 0, which holds the store, does not answer any more";
    }
}

std::string RankWatch::left() const {
    for (int64_t rank = 0; rank < size_; ++rank) {
        if (rank == rank_ || !store_->check({key("left/", rank)})) continue;
        const std::vector<uint8_t> reason = store_->get(key("left/", rank));
        return "rank " + std::to_string(rank) +
               " has failed: " + std::string(reason.begin(), reason.end());
    }
    return "";
}

std::string RankWatch::silent() const {
    std::vector<int64_t> before;
    for (int64_t rank = 0; rank < size_; ++rank)
        before.push_back(store_->add(key("beat/", rank), 0));
    std::this_thread::sleep_for(kSilence);
    for (int64_t rank = 0; rank < size_; ++rank) {
        if (rank == rank_ || store_->add(key("beat/", rank), 0) != before[rank]) continue;
        return "rank " + std::to_string(rank) +
               " does not answer any more: it was killed or stopped, or its network is down";
    }
    return "";
}

std::string RankWatch::late(int64_t exchange) const {
    for (int64_t rank = 0; rank < size_; ++rank) {
        if (rank == rank_) continue;
        int64_t at = 0;
        if (store_->check({key("at/", rank)})) {
            const std::vector<uint8_t> text = store_->get(key("at/", rank));
            at = std::stoll(std::string(text.begin(), text.end()));
        }
        if (at < exchange)
            return "rank " + std::to_string(rank) + " is alive and did not come in time";
    }
    return "";
}

}  // namespace grpo
