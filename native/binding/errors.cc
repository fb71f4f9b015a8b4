#include "binding/errors.h"

#include <c10/util/Exception.h>

#include <new>
#include <string>

#include "error.h"

namespace grpo {
namespace {

struct Described {
    std::string code;
    std::string message;
    std::string hint;
};

Described describe(const std::exception_ptr& exception) {
    constexpr const char* kMemoryHint =
        "lower maxTokensPerMicroBatch, perDeviceTrainBatchSize or maxCompletionLength, or use a "
        "smaller dtype";
    try {
        std::rethrow_exception(exception);
    } catch (const EngineError& error) {
        return {error.code(), error.what(), error.hint()};
    } catch (const c10::OutOfMemoryError& error) {
        return {"OUT_OF_MEMORY", error.what_without_backtrace(), kMemoryHint};
    } catch (const c10::Error& error) {
        const std::string text = error.what_without_backtrace();
        // The CPU allocator has no exception type of its own.
        const bool memory = text.find("DefaultCPUAllocator") != std::string::npos;
        return {memory ? "OUT_OF_MEMORY" : "INTERNAL", text, memory ? kMemoryHint : ""};
    } catch (const std::bad_alloc&) {
        return {"OUT_OF_MEMORY", "out of memory", kMemoryHint};
    } catch (const std::exception& error) {
        return {"INTERNAL", error.what(), ""};
    } catch (...) {
        return {"INTERNAL", "unknown failure", ""};
    }
}

}  // namespace

Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& exception) {
    const Described described = describe(exception);
    Napi::Error error = Napi::Error::New(env, described.message);
    error.Set("code", described.code);
    if (!described.hint.empty()) error.Set("hint", described.hint);
    return error;
}

}  // namespace grpo
