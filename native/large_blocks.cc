#include "large_blocks.h"

#if defined(__linux__)
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <cstring>
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
        for (const auto& [size, blocks] : free_) {
            for (void* block : blocks) munmap(block, size);
        }
        free_.clear();
    }

  private:
    /// nullptr where the system has none.
    void* take(size_t size) {
        const std::lock_guard lock(mutex_);
        std::vector<void*>& kept = free_[size];
        void* block = nullptr;
        if (!kept.empty()) {
            block = kept.back();
            kept.pop_back();
        } else {
            block = map(size);
        }
        if (block != nullptr) size_of_[block] = size;
        return block;
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
    std::map<size_t, std::vector<void*>> free_;
    std::unordered_map<void*, size_t> size_of_;
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
    free_[found->second].push_back(data);
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
