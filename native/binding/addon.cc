// The entry of the core: grpo_core_init fills the exports of one environment. lib/native/native.ts
// is their typed mirror.
#include <torch/headeronly/version.h>

#include "binding/call.h"
#include "binding/engine_wrap.h"
#include "binding/for_tests.h"
#include "binding/napi_setup.h"
#include "binding_revision.h"
#include "engine.h"
#include "kernels/instruction_set.h"
#include "large_blocks.h"
#include "machine_probe.h"

namespace grpo {
namespace {

/// Those of the processor, the plainest first.
std::vector<std::string> instruction_sets() {
    std::vector<std::string> names;
    for (int i = 0; i <= static_cast<int>(cpu::processor_instruction_set()); ++i)
        names.emplace_back(cpu::name_of(static_cast<cpu::InstructionSet>(i)));
    return names;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    // A name that is none is refused here, before anything computes.
    guarded(env, [] { return cpu::instruction_set(); });
    keep_large_blocks();
    exports.Set("bindingRevision", GRPO_BINDING_REVISION);
    exports.Set("Engine", define_engine(env));
    exports.Set("torchVersion", function_of(env, [] { return std::string(TORCH_VERSION); }));
    exports.Set("devices", function_of(env, [] { return available_devices(); }));
    exports.Set("tryDevice", function_of(env, [](const std::string& device) {
                    try_device(device);
                    return true;
                }));
    exports.Set("machineProbe", function_of(env, [](const std::string& device, int64_t threads) {
                    return probe_machine(device, static_cast<int>(threads));
                }));
    exports.Set("instructionSet",
                function_of(env, [] { return std::string(cpu::name_of(cpu::instruction_set())); }));
    exports.Set("instructionSets", function_of(env, [] { return instruction_sets(); }));
    export_for_tests(env, exports);
    return exports;
}

}  // namespace
}  // namespace grpo

extern "C" __attribute__((visibility("default"))) napi_value grpo_core_init(napi_env env,
                                                                            napi_value exports) {
    return Napi::RegisterModule(env, exports, grpo::init);
}
