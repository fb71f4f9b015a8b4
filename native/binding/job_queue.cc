#include "binding/job_queue.h"

#include "binding/errors.h"
#include "error.h"

namespace grpo {

struct JobQueue::Job {
    Job(Napi::Env env, Work job_work, std::shared_ptr<void> job_kept, uint64_t job_id)
        : deferred(Napi::Promise::Deferred::New(env)),
          work(std::move(job_work)),
          kept(std::move(job_kept)),
          id(job_id) {}
    Napi::Promise::Deferred deferred;
    Work work;
    std::shared_ptr<void> kept;
    uint64_t id;
    Settle settle;
    std::exception_ptr failure;
};

JobQueue::JobQueue(Napi::Env env, std::function<void()> begin)
    : to_js_(Napi::ThreadSafeFunction::New(
          env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "grpo engine",
          /*maxQueueSize=*/0, /*initialThreadCount=*/1)) {
    // An idle engine must not keep the process alive; enqueue() takes a reference for as long as
    // jobs are pending.
    to_js_.Unref(env);
    thread_ = std::thread([this, begin = std::move(begin)] {
        begin();
        run();
    });
}

JobQueue::~JobQueue() { close(); }

Napi::Promise JobQueue::enqueue(Napi::Env env, Work work, std::shared_ptr<void> kept) {
    const auto job = std::make_shared<Job>(env, std::move(work), std::move(kept), next_id_++);
    const Napi::Promise promise = job->deferred.Promise();
    if (pending_++ == 0) to_js_.Ref(env);
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back(job);
    }
    wake_.notify_one();
    return promise;
}

void JobQueue::run() {
    while (true) {
        std::shared_ptr<Job> job;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
            if (jobs_.empty()) return;
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        const Cancelled cancelled = [this, id = job->id] { return id < cancelled_before_.load(); };
        try {
            if (cancelled())
                throw EngineError("CANCELLED", "the job was cancelled before it began");
            job->settle = job->work(cancelled);
        } catch (...) {
            job->failure = std::current_exception();
        }
        job->kept = nullptr;
        // The queue itself may have lost its owner by then.
        call_js([self = shared_from_this(), job](Napi::Env env) { self->settle(env, job); });
    }
}

void JobQueue::settle(Napi::Env env, const std::shared_ptr<Job>& job) {
    if (--pending_ == 0) to_js_.Unref(env);
    const Napi::HandleScope scope(env);
    job->work = nullptr;  // what it captured may hold JavaScript references
    try {
        if (!job->failure) return job->deferred.Resolve(job->settle(env));
    } catch (...) {  // there was no memory for the result
        job->failure = std::current_exception();
    }
    job->deferred.Reject(to_js_error(env, job->failure).Value());
}

void JobQueue::call_js(std::function<void(Napi::Env)> callback) {
    auto* owned = new std::function<void(Napi::Env)>(std::move(callback));
    const napi_status status = to_js_.NonBlockingCall(
        owned, [](Napi::Env env, Napi::Function, std::function<void(Napi::Env)>* body) {
            const std::unique_ptr<std::function<void(Napi::Env)>> owner(body);
            (*body)(env);
        });
    // While the environment shuts down the call is refused or never made; the job may hold
    // JavaScript references that only that thread can free, so it is left to the end of the
    // process.
    if (status != napi_ok) static_cast<void>(owned);
}

void JobQueue::cancel() { cancelled_before_ = next_id_; }

void JobQueue::finish() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
}

void JobQueue::close() {
    if (closed_) return;
    closed_ = true;
    cancel();
    finish();
    thread_.join();
    to_js_.Release();
}

}  // namespace grpo
