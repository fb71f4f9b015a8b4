#include "op_counter.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <string_view>

namespace grpo {
namespace {

OperatorCounter* active = nullptr;

/// Operators that are made of others on a CPU and on the meta device, and one kernel on CUDA.
bool is_fused(std::string_view name) { return name == "aten::_fused_rms_norm"; }

/// 2 · rows · columns · inner of a product; 0 of all else.
int64_t product_flops(std::string_view name, c10::ArrayRef<const c10::IValue> inputs) {
    size_t first = 0;
    if (name == "aten::addmm" || name == "aten::addmm_" || name == "aten::baddbmm" ||
        name == "aten::baddbmm_") {
        first = 1;
    } else if (name != "aten::mm" && name != "aten::bmm") {
        return 0;
    }
    const at::Tensor &a = inputs[first].toTensor(), &b = inputs[first + 1].toTensor();
    return 2 * a.numel() * b.size(-1);
}

}  // namespace

/// Told by the allocators of every device.
struct OperatorCounter::Memory : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void* /*pointer*/, int64_t size, size_t /*allocated*/,
                           size_t /*reserved*/, c10::Device /*device*/) override {
        now += size;
        peak = std::max(peak, now);
    }
    bool memoryProfilingEnabled() const override { return true; }

    int64_t now = 0, peak = 0;  // beside what was allocated before
};

OperatorCounter::OperatorCounter()
    : memory_(std::make_shared<Memory>()),
      thread_(std::this_thread::get_id()),
      handle_(at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                             .needsInputs(true)
                                             .scopes({at::RecordScope::FUNCTION}))) {
    c10::ThreadLocalDebugInfo::_push(c10::DebugInfoKind::PROFILER_STATE, memory_);
    active = this;
}

OperatorCounter::~OperatorCounter() {
    active = nullptr;
    // The thread of an engine that is disposed while it counts ends too, and its callbacks with it.
    if (std::this_thread::get_id() != thread_) return;
    at::removeCallback(handle_);
    c10::ThreadLocalDebugInfo::_pop(c10::DebugInfoKind::PROFILER_STATE);
}

OperatorCounts OperatorCounter::counts() const {
    OperatorCounts counts = counts_;
    counts.peak_bytes = memory_->peak;
    return counts;
}

std::unique_ptr<at::ObserverContext> OperatorCounter::begin(const at::RecordFunction& function) {
    if (active == nullptr) return nullptr;
    const char* name = function.name();
    const auto& open = active->open_;
    const bool inside_fused =
        std::any_of(open.begin(), open.end(), [](const Open& o) { return is_fused(o.name); });
    if (!inside_fused) ++active->counts_.operators;
    active->counts_.flops += product_flops(name, function.inputs());
    active->open_.push_back({active->is_kernel(function), false, name});
    return nullptr;
}

void OperatorCounter::end(const at::RecordFunction& /*function*/,
                          at::ObserverContext* /*context*/) {
    if (active == nullptr || active->open_.empty()) return;
    auto& open = active->open_;
    const Open done = open.back();
    open.pop_back();
    const bool inside_fused =
        std::any_of(open.begin(), open.end(), [](const Open& o) { return is_fused(o.name); });
    const bool counted = !inside_fused && done.kernel && (!done.has_kernel || is_fused(done.name));
    if (counted) ++active->counts_.kernels[done.name];
    if (!open.empty() && (counted || done.has_kernel)) open.back().has_kernel = true;
}

bool OperatorCounter::is_kernel(const at::RecordFunction& function) {
    const std::string key = std::string(function.name()) + "." + function.overload_name();
    if (const auto known = is_kernel_.find(key); known != is_kernel_.end()) return known->second;
    const std::string_view name = function.name();
    bool kernel = name == "aten::_fused_adamw_";  // which returns nothing
    if (const auto schema = function.operator_schema(); schema && !schema->returns().empty()) {
        const auto* alias = schema->returns()[0].alias_info();
        const bool view = alias != nullptr && !alias->isWrite();
        const bool allocation = name.starts_with("aten::empty") ||
                                name.starts_with("aten::new_empty") ||
                                name.starts_with("aten::resize") || name == "aten::_unsafe_view";
        const auto kind = schema->returns()[0].type()->kind();
        const bool tensor = kind == c10::TypeKind::TensorType || kind == c10::TypeKind::ListType;
        kernel = tensor && !view && !allocation;
    }
    return is_kernel_[key] = kernel;
}

}  // namespace grpo
