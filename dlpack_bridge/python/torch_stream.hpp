#pragma once

#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

// The streams of torch: what it works on, and how it protects memory that others use. Needs the GIL
// and a loaded torch.

/// The stream that torch works on now; unknown when it does not say. Before torch 2.10 there is no
/// table to ask: its Python API is.
stream_handle torch_work_stream(device where) noexcept;

/// Keeps the export of a tensor on a device together with the tensor itself, which can note who uses
/// the memory, at `data`: `listener` is set to that.
owner keep_device_tensor(owner exported, PyObject* tensor, const void* data,
                         use_listener& listener);

}  // namespace dlpack_bridge::python
