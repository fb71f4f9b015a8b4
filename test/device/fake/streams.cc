#include "streams.h"

#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

namespace fake {
namespace {

constexpr int kPooled = 8;
/// A queue that is longer makes the host wait for half of it, as a driver's does.
constexpr Ticket kLongestQueue = 1024;

struct Stream;

struct Entry {
    Task run;
    /// In place of `run`: until another stream has come so far.
    Stream* other = nullptr;
    Ticket ticket = 0;
};

struct Stream {
    std::deque<Entry> queue;
    Ticket issued = 0, done = 0;
    std::optional<std::vector<Task>> recording;
};

c10::Device device_of(int index) {
    return {c10::kPrivateUse1, static_cast<c10::DeviceIndex>(index)};
}

/// All streams, and the thread that runs what was enqueued on them.
class Device {
  public:
    Stream& stream(c10::Stream which) { return streams_.at(which.device_index()).at(which.id()); }

    void enqueue(Stream& stream, Entry entry) {
        std::unique_lock lock(mutex_);
        if (stream.recording) {
            TORCH_CHECK(entry.other == nullptr, "the fake device records one stream only");
            stream.recording->push_back(std::move(entry.run));
            return;
        }
        stream.queue.push_back(std::move(entry));
        ++stream.issued;
        if (stream.issued - stream.done > kLongestQueue)
            advance(stream, stream.issued - kLongestQueue / 2, lock);
    }

    void finish(Stream& stream, Ticket ticket) {
        std::unique_lock lock(mutex_);
        TORCH_CHECK(!stream.recording, "a stream that is being recorded cannot be waited for");
        advance(stream, ticket, lock);
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

    std::mutex& mutex() { return mutex_; }

  private:
    struct Request {
        Stream* stream;
        Ticket ticket;
    };

    void advance(Stream& stream, Ticket ticket, std::unique_lock<std::mutex>& lock) {
        if (stream.done >= ticket) return;
        // Never joined: work that nobody waits for does not end with the process.
        if (!std::exchange(started_, true)) std::thread([this] { serve(); }).detach();
        requests_.push_back({&stream, ticket});
        asked_.notify_one();
        advanced_.wait(lock, [&] { return stream.done >= ticket; });
    }

    void serve() {
        std::unique_lock lock(mutex_);
        while (true) {
            asked_.wait(lock, [&] { return !requests_.empty(); });
            const Request request = requests_.front();
            requests_.pop_front();
            run(*request.stream, request.ticket, lock);
            advanced_.notify_all();
        }
    }

    static std::exception_ptr run_alone(const Task& task) {
        try {
            task();
            return nullptr;
        } catch (...) {
            return std::current_exception();
        }
    }

    /// A stream waits only for what was enqueued before, so this comes to an end.
    void run(Stream& stream, Ticket ticket, std::unique_lock<std::mutex>& lock) {
        while (stream.done < ticket) {
            Entry entry = std::move(stream.queue.front());
            stream.queue.pop_front();
            if (entry.other != nullptr) {
                run(*entry.other, entry.ticket, lock);
            } else {
                lock.unlock();
                std::exception_ptr thrown = run_alone(entry.run);
                entry.run = nullptr;
                lock.lock();
                if (!failure_) failure_ = std::move(thrown);
            }
            ++stream.done;
        }
    }

    std::mutex mutex_;
    std::condition_variable asked_, advanced_;
    std::deque<Request> requests_;
    bool started_ = false;
    std::exception_ptr failure_;
    std::array<std::array<Stream, 1 + kPooled>, kDevices> streams_;
};

/// Never destroyed: tensors may outlive static objects.
Device& device() {
    static auto* instance = new Device;
    return *instance;
}

thread_local int this_device = 0;
thread_local std::array<c10::StreamId, kDevices> this_stream{};

}  // namespace

int current_device() { return this_device; }
void set_current_device(int device) {
    TORCH_CHECK(device >= 0 && device < kDevices, "there is no fake device ", device);
    this_device = device;
}
c10::Stream current_stream(int device) {
    return c10::Stream(c10::Stream::UNSAFE, device_of(device), this_stream.at(device));
}
void set_current_stream(c10::Stream stream) { this_stream.at(stream.device_index()) = stream.id(); }
c10::Stream default_stream(int device) {
    return c10::Stream(c10::Stream::UNSAFE, device_of(device), 0);
}
c10::Stream pooled_stream(int device) {
    static std::atomic<int> next{0};
    return c10::Stream(c10::Stream::UNSAFE, device_of(device), 1 + next++ % kPooled);
}

void enqueue(c10::Stream stream, Task task) {
    device().enqueue(device().stream(stream), {.run = std::move(task)});
}
void enqueue_wait(c10::Stream stream, c10::Stream other, Ticket ticket) {
    if (stream == other) return;
    device().enqueue(device().stream(stream),
                     {.run = {}, .other = &device().stream(other), .ticket = ticket});
}

Ticket issued(c10::Stream stream) {
    const std::lock_guard lock(device().mutex());
    return device().stream(stream).issued;
}
bool is_done(c10::Stream stream, Ticket ticket) {
    const std::lock_guard lock(device().mutex());
    return device().stream(stream).done >= ticket;
}
void finish(c10::Stream stream, Ticket ticket) { device().finish(device().stream(stream), ticket); }
void finish(c10::Stream stream) { finish(stream, issued(stream)); }
void finish_device(int index) {
    for (int id = 0; id <= kPooled; ++id)
        finish(c10::Stream(c10::Stream::UNSAFE, device_of(index), id));
}

void begin_recording(c10::Stream stream) {
    TORCH_CHECK(stream.id() != 0, "the default stream cannot be recorded");
    const std::lock_guard lock(device().mutex());
    TORCH_CHECK(!device().stream(stream).recording, "the stream is being recorded already");
    device().stream(stream).recording.emplace();
}
std::vector<Task> end_recording(c10::Stream stream) {
    const std::lock_guard lock(device().mutex());
    auto& recording = device().stream(stream).recording;
    TORCH_CHECK(recording, "the stream is not being recorded");
    std::vector<Task> tasks = std::move(*recording);
    recording.reset();
    return tasks;
}
bool is_recording(c10::Stream stream) {
    const std::lock_guard lock(device().mutex());
    return device().stream(stream).recording.has_value();
}

}  // namespace fake
