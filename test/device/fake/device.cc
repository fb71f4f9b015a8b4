// What libtorch asks of a device: which there are, which is current, its streams, events, memory.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/accelerator/Graph.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstring>

#include "counts.h"
#include "memory.h"
#include "streams.h"

namespace fake {
namespace {

struct Event {
    c10::Stream stream;
    Ticket ticket;
};

/// Waiting in a loop must come to an end though nothing runs unasked: the second question finds the
/// work done.
bool query(c10::Stream stream, Ticket ticket) {
    if (is_done(stream, ticket)) return true;
    finish(stream, ticket);
    return false;
}

class Guard final : public c10::impl::DeviceGuardImplInterface {
  public:
    static constexpr c10::DeviceType static_type = c10::kPrivateUse1;
    Guard() = default;
    explicit Guard(c10::DeviceType /*type*/) {}

    c10::DeviceType type() const override { return static_type; }
    c10::Device getDevice() const override { return of(current_device()); }
    c10::Device exchangeDevice(c10::Device device) const override {
        const c10::Device before = getDevice();
        setDevice(device);
        return before;
    }
    void setDevice(c10::Device device) const override {
        if (device.has_index()) set_current_device(device.index());
    }
    void uncheckedSetDevice(c10::Device device) const noexcept override {
        if (device.has_index()) set_current_device(device.index());
    }
    c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }

    c10::Stream getStream(c10::Device device) const override {
        return current_stream(index_of(device));
    }
    c10::Stream getDefaultStream(c10::Device device) const override {
        return default_stream(index_of(device));
    }
    c10::Stream getNewStream(c10::Device device, int /*priority*/) const override {
        return pooled_stream(index_of(device));
    }
    c10::Stream getStreamFromGlobalPool(c10::Device device, bool /*high*/) const override {
        return pooled_stream(index_of(device));
    }
    c10::Stream exchangeStream(c10::Stream stream) const override {
        const c10::Stream before = current_stream(stream.device_index());
        set_current_stream(stream);
        return before;
    }
    bool queryStream(const c10::Stream& stream) const override {
        return query(stream, issued(stream));
    }
    void synchronizeStream(const c10::Stream& stream) const override {
        count_waiting("stream");
        finish(stream);
    }
    void synchronizeDevice(c10::DeviceIndex device) const override {
        count_waiting("device");
        finish_device(device);
    }
    bool isStreamCapturing(const c10::Stream& stream) const override {
        return is_recording(stream);
    }

    void record(void** event, const c10::Stream& stream, c10::DeviceIndex /*device*/,
                c10::EventFlag /*flag*/) const override {
        destroyEvent(*event, 0);
        *event = new Event{stream, issued(stream)};
    }
    void block(void* event, const c10::Stream& stream) const override {
        if (const auto* recorded = static_cast<Event*>(event))
            enqueue_wait(stream, recorded->stream, recorded->ticket);
    }
    bool queryEvent(void* event) const override {
        const auto* recorded = static_cast<Event*>(event);
        return recorded == nullptr || query(recorded->stream, recorded->ticket);
    }
    void synchronizeEvent(void* event) const override {
        count_waiting("event");
        if (const auto* recorded = static_cast<Event*>(event))
            finish(recorded->stream, recorded->ticket);
    }
    void destroyEvent(void* event, c10::DeviceIndex /*device*/) const noexcept override {
        delete static_cast<Event*>(event);
    }
    void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
        device_allocator().recordStream(data, stream);
    }

  private:
    static c10::Device of(int index) {
        return {c10::kPrivateUse1, static_cast<c10::DeviceIndex>(index)};
    }
    static int index_of(c10::Device device) {
        return device.has_index() ? device.index() : current_device();
    }
};

class Hooks final : public at::PrivateUse1HooksInterface {
  public:
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex /*device*/) const override { return true; }
    c10::DeviceIndex deviceCount() const override { return kDevices; }
    c10::DeviceIndex getCurrentDevice() const override {
        return static_cast<c10::DeviceIndex>(current_device());
    }
    void setCurrentDevice(c10::DeviceIndex device) const override { set_current_device(device); }
    c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
        const c10::DeviceIndex before = getCurrentDevice();
        if (device >= 0) setCurrentDevice(device);
        return before;
    }
    c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
        return exchangeDevice(device);
    }
    c10::Device getDeviceFromPtr(void* address) const override {
        return {c10::kPrivateUse1, static_cast<c10::DeviceIndex>(device_of_address(address))};
    }
    bool isPinnedPtr(const void* address) const override { return is_pinned(address); }
    at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator(); }
    // The kernels are the CPU's, and so are their generators.
    const at::Generator& getDefaultGenerator(c10::DeviceIndex /*device*/) const override {
        return at::detail::getDefaultCPUGenerator();
    }
    at::Generator getNewGenerator(c10::DeviceIndex /*device*/) const override {
        return at::detail::createCPUGenerator();
    }
    void resizePrivateUse1Bytes(const c10::Storage& storage, size_t size) const override {
        const c10::DeviceGuard guard(storage.device());
        c10::DataPtr fresh = device_allocator().allocate(size);
        const size_t kept = std::min(size, storage.nbytes());
        if (kept > 0)
            enqueue(current_stream(storage.device().index()),
                    [to = fresh.get(), from = storage.data(), kept] {
                        std::memcpy(backing(to), backing(from), kept);
                    });
        storage.set_data_ptr_noswap(std::move(fresh));
        storage.set_nbytes(size);
    }
};

/// A recording: what the stream was given meanwhile, and memory that stays its own.
class Graph final : public at::GraphImplInterface {
  public:
    explicit Graph(const at::GraphImplArgs& /*args*/) {}

    void capture_begin(at::MempoolId_t pool, at::GraphCaptureMode /*mode*/) override {
        static std::atomic<c10::CaptureId_t> next{1};
        pool_ = pool == at::MempoolId_t{0, 0} ? at::MempoolId_t{next++, 0} : pool;
        stream_ = current_stream(current_device());
        begin_recording(*stream_);
        set_memory_pool(pool_);
    }
    void capture_end() override {
        TORCH_CHECK(stream_, "the recording has not begun");
        set_memory_pool({0, 0});
        tasks_ = end_recording(*stream_);
    }
    void instantiate() override {}
    void replay() override {
        TORCH_CHECK(stream_, "nothing was recorded");
        ++counts.graph_replays;
        // On the device that it was recorded on, whichever is current.
        for (const Task& task : tasks_) enqueue(current_stream(stream_->device_index()), task);
    }
    void reset() override { tasks_.clear(); }
    at::MempoolId_t pool() const override { return pool_; }
    void enable_debug_mode() override {}
    void debug_dump(const std::string& /*path*/) override {}

  private:
    at::MempoolId_t pool_{0, 0};
    std::optional<c10::Stream> stream_;
    std::vector<Task> tasks_;
};

const bool registered = [] {
    c10::register_privateuse1_backend("fake");
    c10::SetAllocator(c10::kPrivateUse1, &device_allocator());
    at::setHostAllocator(c10::kPrivateUse1, &pinned_allocator());
    at::RegisterPrivateUse1HooksInterface(new Hooks);
    at::GraphImplRegistry()->Register("FAKE", [](const at::GraphImplArgs& args) {
        return std::unique_ptr<at::GraphImplInterface>(new Graph(args));
    });
    return true;
}();

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

}  // namespace
}  // namespace fake
