#include "large_blocks.h"

#if defined(__linux__)
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>
#endif

namespace grpo {

#if defined(__linux__)
namespace {

constexpr size_t kLarge = size_t{1} << 20;  // bytes from which a tensor has a block
constexpr size_t kUnit = size_t{1} << 16;   // of sizes of blocks
constexpr size_t kMostSpare = 8;            // a block may be larger than its tensor by an eighth
constexpr uintptr_t kPage = 4096;
constexpr size_t kLargePage = size_t{2} << 20;

class LargeBlocks : public at::Allocator {
  public:
    at::DataPtr allocate(size_t bytes) override {
        void* data = nullptr;
        if (bytes >= kLarge) data = take((bytes + kUnit - 1) / kUnit * kUnit);
        if (data != nullptr)
            c10::profiledCPUMemoryReporter().New(data, bytes);
        else
            data = c10::GetDefaultCPUAllocator()->raw_allocate(bytes);
        return {data, data, &LargeBlocks::free, c10::Device(c10::kCPU)};
    }
    at::DeleterFnPtr raw_deleter() const override { return &LargeBlocks::free; }
    void copy_data(void* to, const void* from, size_t bytes) const override {
        default_copy_data(to, from, bytes);
    }

    void release() {
        const std::lock_guard lock(mutex_);
        while (!free_.empty()) unmap_largest();
        most_used_ = used_;
    }

  private:
    /// A kept block that is not much larger, or a new one; nullptr where the system has none.
    void* take(size_t size) {
        const std::lock_guard lock(mutex_);
        void* block = nullptr;
        const auto kept = free_.lower_bound(size);
        if (kept != free_.end() && kept->first <= size + size / kMostSpare) {
            size = kept->first;
            block = pop(kept);
        } else {
            // What is kept never makes the whole larger than tensors alone were at their most.
            while (!free_.empty() && used_ + size + kept_ > std::max(most_used_, used_ + size))
                unmap_largest();
            block = map(size);
            if (block == nullptr) return nullptr;
        }
        size_of_[block] = size;
        used_ += size;
        most_used_ = std::max(most_used_, used_);
        return block;
    }

    using Kept = std::map<size_t, std::vector<void*>>;
    void* pop(Kept::iterator kept) {
        void* block = kept->second.back();
        kept_ -= kept->first;
        kept->second.pop_back();
        if (kept->second.empty()) free_.erase(kept);
        return block;
    }
    void unmap_largest() {
        const auto largest = std::prev(free_.end());
        const size_t size = largest->first;
        munmap(pop(largest), size);
    }

    /// At a multiple of a large page, if it has one.
    static void* map(size_t size) {
        const size_t slack = size >= kLargePage ? kLargePage : 0;
        void* mapped =
            mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) return nullptr;
        if (slack == 0) return mapped;
        auto* const begin = static_cast<char*>(mapped);
        const size_t before =
            (kLargePage - reinterpret_cast<uintptr_t>(begin) % kLargePage) % kLargePage;
        if (before > 0) munmap(begin, before);
        munmap(begin + before + size, slack - before);
        madvise(begin + before, size, MADV_HUGEPAGE);
        return begin + before;
    }

    static void free(void* data);
    /// False where it is none of its blocks.
    bool keep(void* data);

    std::mutex mutex_;
    Kept free_;
    std::unordered_map<void*, size_t> size_of_;   // those in use
    size_t used_ = 0, kept_ = 0, most_used_ = 0;  // bytes
};

LargeBlocks& large_blocks() {
    // Lives as long as the process: tensors may be freed while it ends.
    static auto* blocks = new LargeBlocks;
    return *blocks;
}

void LargeBlocks::free(void* data) {
    // Blocks begin with a page, other memory hardly ever does.
    if (reinterpret_cast<uintptr_t>(data) % kPage != 0 || !large_blocks().keep(data))
        c10::GetDefaultCPUAllocator()->raw_deleter()(data);
}

bool LargeBlocks::keep(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = size_of_.find(data);
    if (found == size_of_.end()) return false;
    c10::profiledCPUMemoryReporter().Delete(data);
    const size_t size = found->second;
    free_[size].push_back(data);
    kept_ += size;
    used_ -= size;
    size_of_.erase(found);
    return true;
}

}  // namespace

void keep_large_blocks() { c10::SetCPUAllocator(&large_blocks(), /*priority=*/1); }
void release_large_blocks() { large_blocks().release(); }

#else

void keep_large_blocks() {}
void release_large_blocks() {}

#endif

}  // namespace grpo
