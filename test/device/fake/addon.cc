// What JavaScript sees of the device: counts(), kernels(), waits(), setMemory(bytes), faults() and
// plantFault(name, faulty).
#include <napi.h>

#include "counts.h"
#include "memory.h"
#include "planted_faults.h"

namespace {

Napi::Value counts(const Napi::CallbackInfo& info) {
    const fake::Counts& c = fake::counts;
    const std::pair<const char*, const std::atomic<int64_t>&> all[] = {
        {"kernels", c.kernels},
        {"graphReplays", c.graph_replays},
        {"allocations", c.allocations},
        {"uploads", c.uploads},
        {"uploadBytes", c.upload_bytes},
        {"readBacks", c.read_backs},
        {"readBackBytes", c.read_back_bytes},
        {"pageableCopies", c.pageable_copies},
        {"synchronisations", c.synchronisations},
    };
    auto object = Napi::Object::New(info.Env());
    for (const auto& [name, count] : all) object.Set(name, static_cast<double>(count.load()));
    return object;
}

Napi::Value by_name(Napi::Env env, const std::map<std::string, int64_t>& names) {
    auto object = Napi::Object::New(env);
    for (const auto& [name, count] : names) object.Set(name, static_cast<double>(count));
    return object;
}

Napi::Value faults(const Napi::CallbackInfo& info) {
    auto array = Napi::Array::New(info.Env());
    for (const std::string& name : fake::fault_names()) array.Set(array.Length(), name);
    return array;
}

Napi::Value plant_fault(const Napi::CallbackInfo& info) {
    try {
        const double result = fake::plant_fault(info[0].As<Napi::String>(), info[1].ToBoolean());
        return Napi::Number::New(info.Env(), result);
    } catch (const c10::Error& error) {
        throw Napi::Error::New(info.Env(), error.what_without_backtrace());
    }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    exports["counts"] = Napi::Function::New(env, counts);
    exports["kernels"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
        return by_name(info.Env(), fake::kernel_names());
    });
    exports["waits"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
        return by_name(info.Env(), fake::waiting_names());
    });
    exports["setMemory"] = Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
        fake::set_device_memory(static_cast<size_t>(info[0].As<Napi::Number>().Int64Value()));
    });
    exports["faults"] = Napi::Function::New(env, faults);
    exports["plantFault"] = Napi::Function::New(env, plant_fault);
    return exports;
}

}  // namespace

NODE_API_MODULE(fake_device, init)
