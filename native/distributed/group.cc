#define USE_C10D_GLOO
#include "distributed/group.h"

#include <ATen/Functions.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "distributed/rank_watch.h"
#include "error.h"

namespace grpo {
namespace {

using Milliseconds = std::chrono::milliseconds;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

/// A call of the store that is no wait for another rank: no more than this for its answer.
constexpr Milliseconds kStoreAnswer{5000};

Milliseconds timeout_of(const RankOptions& options) {
    return Milliseconds(static_cast<int64_t>(options.timeout * 1000));
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

StorePointer connect(const RankOptions& options, bool serves) {
    c10d::TCPStoreOptions how;
    how.port = static_cast<uint16_t>(options.port);
    how.isServer = serves;
    how.numWorkers = static_cast<size_t>(options.size);
    how.waitWorkers = false;
    how.timeout = timeout_of(options);
    // libuv's symbols would partly be Node's own.
    how.useLibUV = false;
    return c10::make_intrusive<c10d::TCPStore>(options.host, how);
}

/// The store of the process, by its address: it outlives the groups, as other ranks may still need
/// it, and is never freed, as the process may end while they do.
StorePointer store_of(const RankOptions& options) {
    static std::mutex mutex;
    static auto& stores = *new std::map<std::string, StorePointer>;
    const std::lock_guard lock(mutex);
    StorePointer& store = stores[options.host + ":" + std::to_string(options.port)];
    if (!store) store = connect(options, options.serves);
    return store;
}

/// Waits so that `cancelled` can end the wait, which Gloo's own means do not: Gloo's threads keep
/// what they work on until their timeout.
class Completion {
  public:
    explicit Completion(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {
        work_->getFuture()->addCallback([state = state_](c10::ivalue::Future&) {
            {
                const std::lock_guard lock(state->mutex);
                state->done = true;
            }
            state->wake.notify_all();
        });
    }

    /// False: cancelled.
    bool wait(const RankGroup::Cancelled& cancelled) const {
        std::unique_lock lock(state_->mutex);
        while (!state_->wake.wait_for(lock, Milliseconds(50), [&] { return state_->done; })) {
            if (cancelled()) return false;
        }
        lock.unlock();
        work_->wait();
        return true;
    }

  private:
    struct State {
        std::mutex mutex;
        std::condition_variable wake;
        bool done = false;
    };
    std::shared_ptr<State> state_ = std::make_shared<State>();
    c10::intrusive_ptr<c10d::Work> work_;
};

class GlooGroup : public RankGroup {
  public:
    explicit GlooGroup(const RankOptions& options) : rank_(options.rank), size_(options.size) {
        const StorePointer store = store_of(options);
        const auto prefixed = [&](const StorePointer& inner) {
            return c10::make_intrusive<c10d::PrefixStore>(options.name, inner);
        };
        auto gloo = c10d::ProcessGroupGloo::Options::create(timeout_of(options));
        gloo->devices.push_back(
            options.network.empty()
                ? c10d::ProcessGroupGloo::createDeviceForHostname(options.address)
                : c10d::ProcessGroupGloo::createDeviceForInterface(options.network));
        group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(
            prefixed(store), static_cast<int>(rank_), static_cast<int>(size_), gloo);
        store->setTimeout(kStoreAnswer);
        const StorePointer beats = connect(options, /*serves=*/false);
        beats->setTimeout(kStoreAnswer);
        watch_ = std::make_unique<RankWatch>(prefixed(store), prefixed(beats), rank_, size_);
    }

    ~GlooGroup() override {
        if (failure_.empty() && !cancelled_) return;
        // What is still under way holds the group's threads until its timeout.
        std::thread([group = std::move(group_)]() mutable { group.reset(); }).detach();
    }

    void sum(at::Tensor tensor, const Cancelled& cancelled) override {
        exchange(
            cancelled, [&](std::vector<at::Tensor>& tensors) { return group_->allreduce(tensors); },
            tensor);
    }

    void share(at::Tensor tensor, const Cancelled& cancelled) override {
        exchange(
            cancelled, [&](std::vector<at::Tensor>& tensors) { return group_->broadcast(tensors); },
            tensor);
    }

    /// By two sums, of lengths and of bytes, each rank's in a place of its own: Gloo's own
    /// gathering is many times slower than its sum.
    std::vector<Bytes> gather(const Bytes& own, const Cancelled& cancelled) override {
        at::Tensor lengths = at::zeros({size_}, at::kLong);
        auto* length = lengths.mutable_data_ptr<int64_t>();
        length[rank_] = static_cast<int64_t>(own.size());
        sum(lengths, cancelled);
        int64_t total = 0, start = 0;
        for (int64_t rank = 0; rank < size_; ++rank) {
            if (rank == rank_) start = total;
            total += length[rank];
        }
        std::vector<Bytes> all(size_);
        if (total == 0) return all;
        at::Tensor bytes = at::zeros({total}, at::kByte);
        auto* data = bytes.mutable_data_ptr<uint8_t>();
        if (!own.empty()) std::memcpy(data + start, own.data(), own.size());
        sum(bytes, cancelled);
        for (int64_t rank = 0; rank < size_; ++rank) {
            all[rank].assign(data, data + length[rank]);
            data += length[rank];
        }
        return all;
    }

    void leave(const std::string& reason) override {
        if (reason.empty()) return;
        try {
            watch_->leave(reason);
        } catch (const std::exception&) {
            // Who cannot be told sees the connection close.
        }
    }

  private:
    /// Gloo works in host memory.
    template <typename Start>
    void exchange(const Cancelled& cancelled, const Start& start, at::Tensor& tensor) {
        if (!failure_.empty()) throw EngineError("RANK_FAILED", failure_);
        const bool on_host = tensor.is_cpu();
        std::vector<at::Tensor> tensors{on_host ? tensor : tensor.to(at::kCPU)};
        try {
            watch_->arrive(++exchanges_);
            const Completion completion(start(tensors));
            if (!completion.wait(cancelled)) {
                cancelled_ = true;
                failure_ = "the exchange with the other ranks was cancelled";
                throw EngineError("CANCELLED", failure_);
            }
        } catch (const EngineError&) {
            throw;
        } catch (const std::exception& error) {
            failure_ = watch_->missing(exchanges_);
            if (failure_.empty()) {
                failure_ = "the exchange with the other ranks failed: " + first_line(error.what());
            }
            throw EngineError("RANK_FAILED", failure_,
                              "look at the log of that rank, and go on from the last checkpoint");
        }
        if (!on_host) tensor.copy_(tensors[0]);
    }

    const int64_t rank_;
    const int64_t size_;
    c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
    std::unique_ptr<RankWatch> watch_;
    int64_t exchanges_ = 0;
    std::string failure_;
    bool cancelled_ = false;
};

}  // namespace

std::unique_ptr<RankGroup> RankGroup::join(const RankOptions& options) {
    require(options.rank >= 0 && options.rank < options.size, "a rank is one of the group's");
    try {
        return std::make_unique<GlooGroup>(options);
    } catch (const std::exception& error) {
        throw EngineError("RANK_FAILED",
                          "rank " + std::to_string(options.rank) + " of " +
                              std::to_string(options.size) + " could not join the others at " +
                              options.host + ":" + std::to_string(options.port) + ": " +
                              first_line(error.what()),
                          "see that all ranks run and reach that address, and raise ddpTimeout if "
                          "they start at different times");
    }
}

}  // namespace grpo
