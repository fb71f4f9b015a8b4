// What the operators of one thread amount to: how many are dispatched, how many of them an
// accelerator would run as kernels, the operations of their matrix products, and the bytes that
// they hold at most. For tests and benchmarks: where there is no accelerator, these numbers stand
// for its time. Views and allocations are no kernels, nor is an operator that is made of others.
#pragma once

#include <ATen/record_function.h>

#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "batch.h"

namespace grpo {

class OperatorCounter {
  public:
    /// Counts on the calling thread, and on those that autograd takes along, until it is destroyed.
    /// One at a time.
    OperatorCounter();
    ~OperatorCounter();
    OperatorCounter(const OperatorCounter&) = delete;
    OperatorCounter& operator=(const OperatorCounter&) = delete;

    OperatorCounts counts() const;

  private:
    struct Memory;
    /// An operator that has begun and not ended.
    struct Open {
        bool kernel;      // as far as its schema tells
        bool has_kernel;  // among those that it called
        const char* name;
    };

    static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function);
    static void end(const at::RecordFunction& function, at::ObserverContext* context);
    bool is_kernel(const at::RecordFunction& function);

    std::shared_ptr<Memory> memory_;
    std::thread::id thread_;
    at::CallbackHandle handle_;
    OperatorCounts counts_;
    std::unordered_map<std::string, bool> is_kernel_;  // by name and overload
    std::vector<Open> open_;
};

}  // namespace grpo
