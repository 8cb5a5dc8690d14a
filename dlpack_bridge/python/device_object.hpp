#pragma once

#include <optional>

#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// The Python type of `Array.device`: equals its name ("cuda:0") and its DLPack tuple.
PyTypeObject* device_type() noexcept;
/// Makes the type. False with an error set.
bool initialize_device_type() noexcept;

/// A new reference to the Python object of a device; null with an error set.
ref make_device(device d) noexcept;

/// Reads a device in any spelling: name, DLPack tuple, torch.device, `Array.device`. Empty with
/// TypeError or ValueError set.
std::optional<device> device_from_object(PyObject* object) noexcept;
/// The same of a device that a result is to live on: the id of a CPU means nothing there.
std::optional<device> device_to_use(PyObject* object) noexcept;

}  // namespace dlpack_bridge::python
