// One thread that runs an engine's jobs in order, and the way back to JavaScript. A thread of its
// own, not libuv's pool, because libtorch keeps grad mode and its worker team per thread, and
// because a long job must not starve the file system.
//
// A job runs on the engine thread and returns how to build its JavaScript result; that part, and
// the destruction of everything the job captured, happens on the JavaScript thread. What a job has
// to keep alive until then, and nobody else may any more, is let go of on the engine thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "binding/napi_setup.h"

namespace grpo {

class JobQueue : public std::enable_shared_from_this<JobQueue> {
  public:
    using Cancelled = std::function<bool()>;
    using Settle = std::function<Napi::Value(Napi::Env)>;
    using Work = std::function<Settle(const Cancelled&)>;

    /// `begin` runs first on the engine's thread.
    JobQueue(Napi::Env env, std::function<void()> begin);
    ~JobQueue();
    JobQueue(const JobQueue&) = delete;
    JobQueue& operator=(const JobQueue&) = delete;

    /// JavaScript thread. The promise settles when the job has run; until it has, `kept` is kept.
    Napi::Promise enqueue(Napi::Env env, Work work, std::shared_ptr<void> kept);
    /// Engine thread: run `callback` on the JavaScript thread, in the order of the calls.
    void call_js(std::function<void(Napi::Env)> callback);
    /// JavaScript thread: every job asked for so far ends at its next check.
    void cancel();
    /// JavaScript thread: let the queued jobs run and accept no more; does not wait.
    void finish();
    /// JavaScript thread: cancel, wait for the running job to end and drop the rest. Idempotent.
    void close();

  private:
    struct Job;
    void run();
    void settle(Napi::Env env, const std::shared_ptr<Job>& job);

    Napi::ThreadSafeFunction to_js_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> jobs_;
    bool stopping_ = false;
    bool closed_ = false;
    uint64_t next_id_ = 1;
    std::atomic<uint64_t> cancelled_before_{0};
    int64_t pending_ = 0;  // JavaScript thread only
    std::thread thread_;
};

}  // namespace grpo
