#pragma once

#include <optional>

#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {

// NumPy, reached through its C API when it is loaded. Nothing here imports NumPy but the target.

/// True when NumPy is imported and its C API is at hand.
bool numpy_is_loaded() noexcept;

/// Sets row and state of NumPy's arrays and scalars. False when the type is none of them.
bool look_at_numpy_type(type_entry& entry) noexcept;

/// Reads a NumPy dtype, a scalar type, or a type whose `dtype` is one (JAX's). Empty without an error
/// when it is none of these; ValueError when NumPy knows it and DLPack does not.
std::optional<dtype> dtype_from_numpy(PyObject* object) noexcept;

/// The row of `numpy.ndarray` as a target.
target_row& numpy_target() noexcept;

}  // namespace dlpack_bridge::python
