#pragma once

#include <optional>

#include <c10/core/Device.h>

#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/device_backend.hpp>

// torch's devices, the streams it works on, and how its allocator is told who used its memory. All
// through the interfaces of c10, which libtorch_cuda implements: nothing of CUDA is referenced.

namespace dlpack_bridge {
namespace [[gnu::visibility("hidden")]] torch_adapter {

/// A device under DLPack's label; empty when the hub has no adapter for it. Pinned memory is memory of
/// the CPU, as torch has it.
std::optional<device> device_of(c10::Device where);

/// torch's name for a device that `torch_capabilities` contain.
c10::Device torch_device(device where);

/// Whether this process has a torch that works on CUDA devices, and one of them. Starts CUDA's runtime.
bool has_cuda();

/// The stream that torch works on now, on this thread; unknown when this torch does not say.
stream_handle current_stream(c10::Device where);

/// `use_listener::declare` for an `at::Tensor` as context, which is the tensor's owner.
bool declare_use(void* context, device where, stream_handle stream) noexcept;

}  // namespace torch_adapter
}  // namespace dlpack_bridge
