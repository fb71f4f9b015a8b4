// The operators of the device: allocation, views and copies; everything else is launched.
#include <ATen/EmptyTensor.h>
#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/record_function.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <torch/library.h>

#include <cstring>

#include "counts.h"
#include "launch.h"
#include "memory.h"
#include "streams.h"

namespace fake {
namespace {

const c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout> /*layout*/, std::optional<at::Device> device,
                 std::optional<bool> /*pin*/, std::optional<at::MemoryFormat> format) {
    const c10::DeviceGuard guard(c10::device_or_default(device));
    return at::detail::empty_generic(size, &device_allocator(), kKeys, c10::dtype_or_default(dtype),
                                     format);
}
at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout> /*layout*/,
                         std::optional<at::Device> device, std::optional<bool> /*pin*/) {
    const c10::DeviceGuard guard(c10::device_or_default(device));
    return at::detail::empty_strided_generic(size, stride, &device_allocator(), kKeys,
                                             c10::dtype_or_default(dtype));
}

/// An ordinary tensor over the same memory of the host, which it does not keep.
at::Tensor host_view(const at::Tensor& x) {
    return at::from_blob(const_cast<void*>(x.const_data_ptr()), x.sizes(), x.strides(),
                         x.options().requires_grad(false));
}

void enqueue_copy(c10::Stream stream, const at::Tensor& from, const at::Tensor& to) {
    enqueue(stream, [from, to] { to.copy_(from); });
}

/// Between devices too: the streams of both come to it and go on after it.
void copy_on_device(const at::Tensor& from, const at::Tensor& to) {
    count_kernel("aten::copy_");
    const c10::Stream there = current_stream(to.device().index());
    const c10::Stream here = current_stream(from.device().index());
    enqueue_wait(there, here, issued(here));
    enqueue_copy(there, host_alias(from), host_alias(to));
    enqueue_wait(here, there, issued(there));
}

void upload(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
    ++counts.uploads;
    counts.upload_bytes += static_cast<int64_t>(from.nbytes());
    const c10::Stream stream = current_stream(to.device().index());
    if (is_pinned(from.const_data_ptr())) {
        enqueue_copy(stream, host_view(from), host_alias(to));
        note_copy(from.const_data_ptr(), stream);
    } else {
        ++counts.pageable_copies;
        TORCH_CHECK(!is_recording(stream),
                    "a copy of memory that is not pinned cannot be recorded");
        enqueue_copy(stream, host_view(from).clone(), host_alias(to));
    }
    if (non_blocking) return;
    count_waiting("upload");
    finish(stream);
}

void read_back(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
    ++counts.read_backs;
    counts.read_back_bytes += static_cast<int64_t>(from.nbytes());
    const c10::Stream stream = current_stream(from.device().index());
    const bool pinned = is_pinned(to.const_data_ptr());
    const at::Tensor target = host_view(to);
    if (pinned && non_blocking) {
        // Until the copy is done, nobody may know what is there.
        if (!is_recording(stream)) finish_copies(to.const_data_ptr());
        if (target.is_contiguous()) std::memset(target.data_ptr(), kPoison, target.nbytes());
        enqueue_copy(stream, host_alias(from), target);
        note_copy(to.const_data_ptr(), stream);
        return;
    }
    counts.pageable_copies += !pinned;
    count_waiting("read-back");
    enqueue_copy(stream, host_alias(from), target);
    finish(stream);
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
    const at::DisableRecordFunctionGuard uncounted;
    const c10::InferenceMode ordinary(false);
    const at::AutoDispatchBelowADInplaceOrView below;
    if (from.numel() == 0) return to;
    const at::Tensor source = from.expand(to.sizes());
    if (source.is_privateuseone() && to.is_privateuseone())
        copy_on_device(source, to);
    else if (to.is_privateuseone())
        upload(source, to, non_blocking);
    else
        read_back(source, to, non_blocking);
    return to;
}
at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
    at::native::resize_(to, from.sizes(), std::nullopt);
    return copy_from(from, to, false);
}

at::Scalar local_scalar(const at::Tensor& x) {
    const at::DisableRecordFunctionGuard uncounted;
    ++counts.read_backs;
    counts.read_back_bytes += static_cast<int64_t>(x.nbytes());
    count_waiting("item");
    finish(current_stream(x.device().index()));
    return host_alias(x).item();
}

at::Tensor as_strided(const at::Tensor& x, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                      std::optional<c10::SymInt> offset) {
    return at::cpu::as_strided_symint(x, size, stride, std::move(offset));
}
const at::Tensor& resize(const at::Tensor& x, c10::SymIntArrayRef size,
                         std::optional<at::MemoryFormat> format) {
    return at::native::resize_(x, C10_AS_INTARRAYREF_SLOW(size), format);
}
at::Tensor reshape_alias(const at::Tensor& x, c10::SymIntArrayRef size,
                         c10::SymIntArrayRef stride) {
    return at::native::_reshape_alias(x, C10_AS_INTARRAYREF_SLOW(size),
                                      C10_AS_INTARRAYREF_SLOW(stride));
}
at::Tensor view(const at::Tensor& x, c10::SymIntArrayRef size) {
    return at::native::view(x, C10_AS_INTARRAYREF_SLOW(size));
}
at::Tensor& set_tensor(at::Tensor& x, const at::Tensor& source) {
    return at::native::set_tensor_(x, source);
}
at::Tensor& set_storage(at::Tensor& x, at::Storage source, int64_t offset, c10::IntArrayRef size,
                        c10::IntArrayRef stride) {
    return at::cpu::set_(x, std::move(source), offset, size, stride);
}
void record_stream(at::Tensor& x, at::Stream stream) {
    device_allocator().recordStream(x.storage().data_ptr(), stream);
}

}  // namespace
}  // namespace fake

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
    library.impl("empty.memory_format", fake::empty);
    library.impl("empty_strided", fake::empty_strided);
    library.impl("as_strided", fake::as_strided);
    library.impl("resize_", fake::resize);
    library.impl("_reshape_alias", fake::reshape_alias);
    library.impl("view", fake::view);
    library.impl("_copy_from", fake::copy_from);
    library.impl("_copy_from_and_resize", fake::copy_from_and_resize);
    library.impl("_local_scalar_dense", fake::local_scalar);
    library.impl("set_.source_Tensor", fake::set_tensor);
    library.impl("set_.source_Storage_storage_offset", fake::set_storage);
    library.impl("record_stream", fake::record_stream);
    // One kernel each on an accelerator, where other backends loop over the tensors.
    for (const c10::OperatorName& name : c10::Dispatcher::singleton().getAllOpNames()) {
        if (!name.name.starts_with("aten::_foreach_")) continue;
        const std::string full =
            name.name.substr(6) + (name.overload_name.empty() ? "" : ".") + name.overload_name;
        library.impl(full.c_str(), torch::CppFunction::makeFromBoxedFunction<&fake::launch>());
    }
}
TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&fake::launch>());
}
