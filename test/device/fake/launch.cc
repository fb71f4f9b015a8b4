#include "launch.h"

#include <ATen/EmptyTensor.h>
#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>

#include "counts.h"
#include "memory.h"
#include "streams.h"

namespace fake {
namespace {

using torch::jit::Stack;

const c10::DispatchKeySet kOnMeta(c10::DispatchKey::Meta);
const c10::DispatchKeySet kOnCpu(c10::DispatchKey::CPU);

/// Operators that have a meta version and on CUDA look at a result on the host nevertheless.
bool looks_at_result(const std::string& name) { return name == "aten::_linalg_svd"; }

/// `value` with every tensor replaced, and a device of this kind by `device`.
c10::IValue replaced(const c10::IValue& value, c10::Device device,
                     const std::function<at::Tensor(const at::Tensor&)>& replace) {
    if (value.isTensor()) return replace(value.toTensor());
    if (value.isTensorList()) {
        c10::List<at::Tensor> list;
        for (const at::Tensor& x : value.toTensorVector()) list.push_back(replace(x));
        return list;
    }
    if (value.isOptionalTensorList()) {
        c10::List<std::optional<at::Tensor>> list;
        for (const std::optional<at::Tensor>& x : value.toOptionalTensorVector())
            list.push_back(x ? std::optional(replace(*x)) : std::nullopt);
        return list;
    }
    if (value.isDevice() && value.toDevice().is_privateuseone()) return device;
    return value;
}

at::Tensor as_meta(const at::Tensor& x) {
    if (!x.defined() || !x.is_privateuseone()) return x;
    return at::detail::empty_strided_meta(x.sizes(), x.strides(), x.scalar_type());
}

at::Tensor like_meta(const at::Tensor& meta, c10::Device device) {
    if (!meta.defined()) return meta;
    const c10::DeviceGuard guard(device);
    return at::detail::empty_strided_generic(meta.sizes(), meta.strides(), &device_allocator(),
                                             c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                             meta.scalar_type());
}

/// One call: what it was given, and where it runs.
class Call {
  public:
    Call(const c10::OperatorHandle& op, const Stack& stack)
        : op_(op),
          schema_(op.schema()),
          given_(stack.end() - static_cast<int64_t>(schema_.arguments().size()), stack.end()),
          device_(find_device()) {
        check_places();
    }

    /// The results.
    Stack run() const {
        const c10::DeviceGuard guard(device_);
        const c10::Stream stream = current_stream(device_.index());
        count_kernel(schema_.name());
        if (is_draw()) return draw(stream);
        std::optional<Stack> metas = meta_results();
        if (!metas) return run_and_wait(stream);
        Stack results = make_results(*metas);
        enqueue(stream, kernel(results));
        if (looks_at_result(schema_.name())) wait(stream);
        return results;
    }

  private:
    c10::Device find_device() const {
        std::optional<c10::Device> found;
        const auto see = [&](const at::Tensor& x) {
            if (!x.defined() || !x.is_privateuseone()) return x;
            TORCH_CHECK(!found || *found == x.device(), schema_.name(),
                        ": expected all tensors on one device, found ", *found, " and ",
                        x.device());
            found = x.device();
            return x;
        };
        std::optional<c10::Device> asked;
        for (const c10::IValue& value : given_) {
            replaced(value, c10::kCPU, see);
            if (value.isDevice() && value.toDevice().is_privateuseone()) asked = value.toDevice();
        }
        if (!found) found = asked;
        if (!found || !found->has_index())
            found = c10::Device(c10::kPrivateUse1, static_cast<c10::DeviceIndex>(current_device()));
        return *found;
    }

    void check_places() const {
        const auto check = [&](const at::Tensor& x) {
            TORCH_CHECK(!x.defined() || x.is_privateuseone() || x.dim() == 0, schema_.name(),
                        ": expected all tensors on ", device_, ", found one on ", x.device(),
                        " of shape ", x.sizes());
            return x;
        };
        for (const c10::IValue& value : given_) replaced(value, device_, check);
    }

    bool writes(const c10::Argument& argument) const {
        return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
    }

    /// Random numbers into a tensor, by nothing but its shape. They are drawn when the kernel is
    /// launched, as a device then takes its seed and offset, and not when the generator may have
    /// another seed.
    bool is_draw() const {
        const auto& arguments = schema_.arguments();
        int64_t tensors = 0;
        for (const c10::IValue& value : given_) tensors += value.isTensor();
        return !arguments.empty() && arguments.back().name() == "generator" && tensors == 1 &&
               writes(arguments.front());
    }

    Stack draw(c10::Stream stream) const {
        const at::Tensor drawn = at::detail::empty_strided_cpu(given_[0].toTensor().sizes(),
                                                               given_[0].toTensor().strides(),
                                                               given_[0].toTensor().scalar_type());
        Stack arguments = given_;
        arguments[0] = drawn;
        op_.redispatchBoxed(kOnCpu, &arguments);
        enqueue(stream, [drawn, to = host_alias(given_[0].toTensor())] { to.copy_(drawn); });
        return {given_[0]};
    }

    /// What the operator's meta version gives; nothing where the results cannot be known before
    /// they are computed. Throws what is wrong with the shapes. Tensors that are to be written get
    /// the sizes that they are asked to have.
    std::optional<Stack> meta_results() const {
        for (const c10::Argument& result : schema_.returns())
            if (result.type()->kind() != c10::TypeKind::TensorType &&
                result.type()->kind() != c10::TypeKind::ListType)
                return std::nullopt;
        static std::mutex mutex;
        static std::set<std::string> without;
        {
            const std::lock_guard lock(mutex);
            if (without.contains(full_name())) return std::nullopt;
        }
        Stack stack;
        for (const c10::IValue& value : given_)
            stack.push_back(replaced(value, c10::kMeta, as_meta));
        const Stack metas = stack;
        try {
            op_.redispatchBoxed(kOnMeta, &stack);
        } catch (const c10::NotImplementedError&) {
            const std::lock_guard lock(mutex);
            without.insert(full_name());
            return std::nullopt;
        }
        for (size_t i = 0; i < given_.size(); ++i)
            if (given_[i].isTensor() && writes(schema_.arguments()[i]) &&
                given_[i].toTensor().sizes() != metas[i].toTensor().sizes())
                given_[i].toTensor().resize_(metas[i].toTensor().sizes());
        return stack;
    }

    std::string full_name() const { return schema_.name() + "." + schema_.overload_name(); }

    /// New memory for what is new, and for what is written the tensor that was given.
    Stack make_results(const Stack& metas) const {
        Stack results;
        for (size_t r = 0; r < metas.size(); ++r) {
            const c10::Argument& result = schema_.returns()[r];
            if (writes(result))
                results.push_back(written(result));
            else
                results.push_back(replaced(metas[r], device_, [&](const at::Tensor& meta) {
                    return like_meta(meta, device_);
                }));
        }
        return results;
    }

    const c10::IValue& written(const c10::Argument& result) const {
        for (size_t i = 0; i < given_.size(); ++i) {
            const auto* alias = schema_.arguments()[i].alias_info();
            if (alias != nullptr && alias->beforeSets() == result.alias_info()->beforeSets())
                return given_[i];
        }
        TORCH_CHECK(false, full_name(), " writes what it was not given");
    }

    Stack host_arguments() const {
        Stack arguments;
        for (const c10::IValue& value : given_)
            arguments.push_back(replaced(value, c10::kCPU, [](const at::Tensor& x) {
                // One number of the host goes along with the launch, as it is now.
                return x.defined() && !x.is_privateuseone() ? x.clone() : host_alias(x);
            }));
        return arguments;
    }

    /// What the device's thread does, once or at every replay.
    std::function<void()> kernel(const Stack& results) const {
        std::vector<std::pair<size_t, c10::IValue>> fresh;
        for (size_t r = 0; r < results.size(); ++r)
            if (!writes(schema_.returns()[r]))
                fresh.emplace_back(r, replaced(results[r], c10::kCPU, host_alias));
        return [op = op_, arguments = host_arguments(), fresh] {
            const at::AutoDispatchBelowADInplaceOrView below;
            Stack stack = arguments;
            op.redispatchBoxed(kOnCpu, &stack);
            for (const auto& [r, place] : fresh) copy_value(stack[r], place);
        };
    }

    static void copy_value(const c10::IValue& from, const c10::IValue& to) {
        if (to.isTensor()) {
            const at::Tensor& target = to.toTensor();
            if (!target.defined() || target.numel() == 0) return;
            TORCH_CHECK(target.sizes() == from.toTensor().sizes(), "expected results of shape ",
                        target.sizes(), ", found ", from.toTensor().sizes());
            target.copy_(from.toTensor());
        } else if (to.isTensorList()) {
            const auto sources = from.toTensorVector(), targets = to.toTensorVector();
            for (size_t i = 0; i < targets.size(); ++i) copy_value(sources[i], targets[i]);
        }
    }

    void wait(c10::Stream stream) const {
        count_waiting(schema_.name());
        finish(stream);
    }

    Stack run_and_wait(c10::Stream stream) const {
        const auto results = std::make_shared<Stack>();
        enqueue(stream, [op = op_, arguments = host_arguments(), results] {
            const at::AutoDispatchBelowADInplaceOrView below;
            *results = arguments;
            op.redispatchBoxed(kOnCpu, results.get());
        });
        wait(stream);
        for (size_t r = 0; r < results->size(); ++r) {
            c10::IValue& value = (*results)[r];
            if (writes(schema_.returns()[r]))
                value = written(schema_.returns()[r]);
            else
                value = replaced(value, device_, [&](const at::Tensor& x) {
                    if (!x.defined()) return x;
                    const at::Tensor on_device = like_meta(x, device_);
                    enqueue(stream, [x, to = host_alias(on_device)] { to.copy_(x); });
                    return on_device;
                });
        }
        return *results;
    }

    const c10::OperatorHandle& op_;
    const c10::FunctionSchema& schema_;
    const Stack given_;
    const c10::Device device_;
};

}  // namespace

at::Tensor host_alias(const at::Tensor& x) {
    if (!x.defined() || !x.is_privateuseone()) return x;
    TORCH_CHECK(!x.is_conj() && !x.is_neg(), "the fake device has no lazy conjugation");
    const c10::InferenceMode ordinary(false);
    return at::from_blob(backing(x.const_data_ptr()), x.sizes(), x.strides(),
                         x.options().device(at::kCPU).requires_grad(false));
}

void launch(const c10::OperatorHandle& op, Stack* stack) {
    // What a kernel is made of here would be none on a device.
    const at::DisableRecordFunctionGuard uncounted;
    const at::AutoDispatchBelowADInplaceOrView below;
    Stack results = Call(op, *stack).run();
    torch::jit::drop(*stack, op.schema().arguments().size());
    for (c10::IValue& result : results) stack->push_back(std::move(result));
}

}  // namespace fake
