// The threads of a decode step. A step is a few hundred short loops, each of which needs the one
// before: what a loop costs beside its work is the time until all threads have begun and ended it.
// Threads of a team wait for the next loop spinning, so that takes less than a microsecond;
// between steps they sleep. Whoever is free takes the next part of a loop, and the caller never
// waits for a thread that has not begun: where cores are shared with others, nobody waits for a
// thread that does not run.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace grpo::cpu {

class Team {
  public:
    using Body = void (*)(const void* context, int64_t begin, int64_t end);

    /// `threads` in all, the caller's included.
    explicit Team(int threads);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    /// While one lives, loops of its thread (see parallel.h) run on the team.
    class Awake {
      public:
        explicit Awake(Team& team);
        ~Awake();
        Awake(const Awake&) = delete;
        Awake& operator=(const Awake&) = delete;

      private:
        Team& team_;
        Team* outer_;
    };
    /// The team that the calling thread has awake, or nullptr.
    static Team* current();
    /// The index of the calling thread in its team; 0 in whoever calls run().
    static int thread_index();

    /// body over parts of [0, count), of at least `grain` but for the last. Bodies start no loops
    /// of their own.
    void run(int64_t count, int64_t grain, Body body, const void* context);

  private:
    void help(int index);
    /// Takes parts of the open loop until there are none.
    void work();

    std::vector<std::thread> helpers_;
    std::atomic<bool> awake_ = false, closing_ = false;
    // The loop at work. It changes only while it is not open and nobody is in it.
    std::atomic<bool> open_ = false;
    std::atomic<int> inside_ = 0;  // helpers
    std::atomic<int64_t> next_ = 0, count_ = 0;
    int64_t grain_ = 1;
    Body body_ = nullptr;
    const void* context_ = nullptr;
    std::mutex failing_;
    std::exception_ptr failure_;
};

}  // namespace grpo::cpu
