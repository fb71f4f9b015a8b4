#include "memory.h"

#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "counts.h"

namespace fake {
namespace {

constexpr size_t kArena = size_t{64} << 30;  // of addresses, for each device
constexpr size_t kArenas = kDevices * kArena;
constexpr size_t kGranularity = 16384;  // whole pages
/// Blocks from this size on give their pages back when they are free.
constexpr size_t kLargeBlock = size_t{1} << 20;

char* device_base = nullptr;   // no access
char* backing_base = nullptr;  // the same offsets
size_t device_memory = size_t{16} << 30;
thread_local c10::MempoolId_t pool{0, 0};

/// Says what has happened; the second fault, at the same place, ends the process.
void on_fault(int /*signal*/, siginfo_t* info, void* /*context*/) {
    if (!is_device_address(info->si_addr)) return;
    constexpr char kText[] = "fake device: the host touched device memory\n";
    (void)!write(STDERR_FILENO, kText, sizeof kText - 1);
    void* frames[48];
    backtrace_symbols_fd(frames, backtrace(frames, 48), STDERR_FILENO);
}

void map_memory() {
    const auto reserve = [](int protection) {
        void* p =
            mmap(nullptr, kArenas, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        TORCH_CHECK(p != MAP_FAILED, "the fake device cannot reserve addresses");
        return static_cast<char*>(p);
    };
    device_base = reserve(PROT_NONE);
    backing_base = reserve(PROT_READ | PROT_WRITE);
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND);
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

class DeviceMemory final : public c10::DeviceAllocator {
  public:
    DeviceMemory() { map_memory(); }

    c10::DataPtr allocate(size_t bytes) override {
        const int device = current_device();
        const c10::Device where(c10::kPrivateUse1, static_cast<c10::DeviceIndex>(device));
        if (bytes == 0) return {nullptr, where};
        const c10::Stream stream = current_stream(device);
        const size_t size = (bytes + kGranularity - 1) / kGranularity * kGranularity;
        auto* block = new Block{.place = {device, stream.id(), pool, size}, .bytes = bytes};
        size_t in_use, reserved;
        bool fresh;
        {
            const std::lock_guard lock(mutex_);
            fresh = take(*block);
            in_use = in_use_[device] += size;
            reserved = top_[device];
            peak_[device] = std::max(peak_[device], in_use);
        }
        ++counts.allocations;
        char* address = device_base + block->offset;
        const auto poison = [address, bytes] { std::memset(backing(address), kPoison, bytes); };
        // What was used before may still be needed by what the stream was given.
        if (fresh) poison();
        enqueue(stream, poison);
        c10::reportMemoryUsageToProfiler(address, static_cast<int64_t>(bytes), in_use, reserved,
                                         where);
        return {address, block, &release, where};
    }
    void copy_data(void* /*to*/, const void* /*from*/, size_t /*bytes*/) const override {
        TORCH_CHECK(false, "memory of the fake device is copied by _copy_from");
    }

    bool initialized() override { return true; }
    void emptyCache(c10::MempoolId_t /*pool*/) override {}
    void recordStream(const c10::DataPtr& data, c10::Stream stream) override {
        const std::lock_guard lock(mutex_);
        if (auto* block = static_cast<Block*>(data.get_context())) block->users.push_back(stream);
    }
    c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
        const std::lock_guard lock(mutex_);
        c10::CachingDeviceAllocator::DeviceStats stats;
        stats.allocated_bytes[0].current = static_cast<int64_t>(in_use_[device]);
        stats.allocated_bytes[0].peak = static_cast<int64_t>(peak_[device]);
        stats.reserved_bytes[0].current = static_cast<int64_t>(top_[device]);
        stats.reserved_bytes[0].peak = static_cast<int64_t>(top_[device]);
        return stats;
    }
    void resetAccumulatedStats(c10::DeviceIndex /*device*/) override {}
    void resetPeakStats(c10::DeviceIndex device) override {
        const std::lock_guard lock(mutex_);
        peak_[device] = in_use_[device];
    }
    std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
        const std::lock_guard lock(mutex_);
        return {device_memory - std::min(device_memory, in_use_[device]), device_memory};
    }

  private:
    /// Blocks are interchangeable where these agree: device, stream, pool, size.
    using Place = std::tuple<int, c10::StreamId, c10::MempoolId_t, size_t>;
    struct Block {
        Place place;
        size_t bytes, offset = 0;
        std::vector<c10::Stream> users{};  // beside the stream that it was allocated for
    };

    /// Whether nobody had it before.
    bool take(Block& block) {
        const auto [device, stream, of_pool, size] = block.place;
        TORCH_CHECK_WITH(OutOfMemoryError, in_use_[device] + size <= device_memory, "fake device ",
                         device, " out of memory: tried to allocate ", size, " bytes, ",
                         in_use_[device], " of ", device_memory, " are in use");
        auto& blocks = free_[block.place];
        if (!blocks.empty()) {
            block.offset = blocks.back();
            blocks.pop_back();
            return false;
        }
        TORCH_CHECK_WITH(OutOfMemoryError, top_[device] + size <= kArena, "fake device ", device,
                         " has no addresses left");
        block.offset = device * kArena + top_[device];
        top_[device] += size;
        return true;
    }

    static void release(void* context);

    std::mutex mutex_;
    std::map<Place, std::vector<size_t>> free_;
    size_t top_[kDevices] = {}, in_use_[kDevices] = {}, peak_[kDevices] = {};
};

DeviceMemory& device_memory_of_process() {
    static auto* instance = new DeviceMemory;
    return *instance;
}

void DeviceMemory::release(void* context) {
    const std::unique_ptr<Block> block(static_cast<Block*>(context));
    DeviceMemory& memory = device_memory_of_process();
    const auto [device, stream_id, of_pool, size] = block->place;
    const c10::Device where(c10::kPrivateUse1, static_cast<c10::DeviceIndex>(device));
    char* address = device_base + block->offset;
    c10::reportMemoryUsageToProfiler(address, -static_cast<int64_t>(block->bytes), 0, 0, where);
    const c10::Stream stream(c10::Stream::UNSAFE, where, stream_id);
    for (const c10::Stream user : block->users) enqueue_wait(stream, user, issued(user));
    if (size >= kLargeBlock && of_pool == c10::MempoolId_t{0, 0} && !is_recording(stream))
        enqueue(stream, [address, size = size] { madvise(backing(address), size, MADV_DONTNEED); });
    const std::lock_guard lock(memory.mutex_);
    memory.free_[block->place].push_back(block->offset);
    memory.in_use_[device] -= size;
}

class PinnedMemory final : public at::HostAllocator {
  public:
    c10::DataPtr allocate(size_t bytes) override {
        const std::lock_guard lock(mutex_);
        std::erase_if(retired_, [this](Block* block) {
            if (!is_finished(*block)) return false;
            free_[block->size].push_back(block);
            return true;
        });
        const size_t size =
            std::max(kGranularity, (bytes + kGranularity - 1) / kGranularity * kGranularity);
        auto& blocks = free_[size];
        Block* block;
        if (blocks.empty()) {
            auto* address = static_cast<char*>(std::aligned_alloc(kGranularity, size));
            block = blocks_[address] = new Block{address, size, {}};
        } else {
            block = blocks.back();
            blocks.pop_back();
        }
        block->copies.clear();
        std::memset(block->address, kPoison, size);
        return {block->address, block, &release, c10::Device(c10::kCPU)};
    }
    void copy_data(void* to, const void* from, size_t bytes) const override {
        std::memcpy(to, from, bytes);
    }
    bool record_event(void* address, void* /*context*/, c10::Stream stream) override {
        const std::lock_guard lock(mutex_);
        Block* block = find(address);
        if (block != nullptr) block->copies.emplace_back(stream, issued(stream));
        return block != nullptr;
    }
    void empty_cache() override {}
    at::HostStats get_stats() override { return {}; }
    void reset_accumulated_stats() override {}
    void reset_peak_stats() override {}

    bool holds(const void* address) {
        const std::lock_guard lock(mutex_);
        return find(address) != nullptr;
    }
    void finish_copies(const void* address) {
        std::vector<std::pair<c10::Stream, Ticket>> copies;
        {
            const std::lock_guard lock(mutex_);
            if (Block* block = find(address)) copies.swap(block->copies);
        }
        for (const auto& [stream, ticket] : copies) finish(stream, ticket);
    }

  private:
    struct Block {
        char* address;
        size_t size;
        std::vector<std::pair<c10::Stream, Ticket>> copies;
    };

    static bool is_finished(const Block& block) {
        return std::all_of(block.copies.begin(), block.copies.end(),
                           [](const auto& copy) { return is_done(copy.first, copy.second); });
    }
    Block* find(const void* address) const {
        auto after = blocks_.upper_bound(static_cast<const char*>(address));
        if (after == blocks_.begin()) return nullptr;
        Block* block = std::prev(after)->second;
        return static_cast<const char*>(address) < block->address + block->size ? block : nullptr;
    }
    static void release(void* context);

    std::mutex mutex_;
    std::map<const char*, Block*> blocks_;
    std::map<size_t, std::vector<Block*>> free_;
    std::vector<Block*> retired_;  // free as soon as their copies are done
};

PinnedMemory& pinned_memory() {
    static auto* instance = new PinnedMemory;
    return *instance;
}

void PinnedMemory::release(void* context) {
    const std::lock_guard lock(pinned_memory().mutex_);
    pinned_memory().retired_.push_back(static_cast<Block*>(context));
}

}  // namespace

bool is_device_address(const void* address) {
    return address >= device_base && address < device_base + kArenas;
}
int device_of_address(const void* address) {
    return static_cast<int>((static_cast<const char*>(address) - device_base) / kArena);
}
void* backing(const void* address) {
    if (!is_device_address(address)) return const_cast<void*>(address);
    return backing_base + (static_cast<const char*>(address) - device_base);
}

c10::DeviceAllocator& device_allocator() { return device_memory_of_process(); }
void set_device_memory(size_t bytes) { device_memory = std::min(bytes, kArena); }
void set_memory_pool(c10::MempoolId_t id) { pool = id; }

at::HostAllocator& pinned_allocator() { return pinned_memory(); }
bool is_pinned(const void* address) { return pinned_memory().holds(address); }
void note_copy(const void* address, c10::Stream stream) {
    pinned_memory().record_event(const_cast<void*>(address), nullptr, stream);
}
void finish_copies(const void* address) { pinned_memory().finish_copies(address); }

}  // namespace fake
