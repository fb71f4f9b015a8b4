// Operators as kernels of the device. A call is checked where it is made, as a launch on a real
// device is, its results get their shapes from the operator's meta version, and the CPU's kernel
// runs on the bytes behind the device's addresses when its turn in the stream has come.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace fake {

/// The numbers of a device's tensor as a tensor of the CPU, for the device's own thread; other
/// tensors are what they are.
at::Tensor host_alias(const at::Tensor& tensor);

/// The boxed kernel of every operator that is not registered otherwise. Throws where CUDA's kernels
/// would: tensors on two devices, or a tensor of the host beside one of the device unless it is one
/// number. An operator whose results the host must know (a number, a shape that depends on values)
/// waits for the stream, and is counted so.
void launch(const c10::OperatorHandle& op, torch::jit::Stack* stack);

}  // namespace fake
