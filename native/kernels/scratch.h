// Memory that is kept from call to call and only grows; its content is not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

namespace grpo::cpu {

class Scratch {
  public:
    /// At an address that is a multiple of 64.
    void* bytes(int64_t count) {
        if (count > size_) {
            const int64_t grown = std::max(count, size_ + size_ / 2);
            memory_.reset();
            size_ = 0;
            memory_.reset(::operator new (static_cast<size_t>(grown), std::align_val_t{64}));
            size_ = grown;
        }
        return memory_.get();
    }
    float* floats(int64_t count) {
        return static_cast<float*>(bytes(count * static_cast<int64_t>(sizeof(float))));
    }

  private:
    struct Free {
        void operator()(void* memory) const { ::operator delete (memory, std::align_val_t{64}); }
    };
    std::unique_ptr<void, Free> memory_;
    int64_t size_ = 0;
};

}  // namespace grpo::cpu
