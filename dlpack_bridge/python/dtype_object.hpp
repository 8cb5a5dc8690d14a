#pragma once

#include <optional>

#include <dlpack_bridge/dtype.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// The Python type `dlpack_bridge.dtype`: an element type that equals its name and every
/// framework's dtype for the same elements. Made once at module initialisation.
PyTypeObject* dtype_type() noexcept;
/// Makes the type. False with an error set.
bool initialize_dtype_type() noexcept;

/// A new reference to the Python object of an element type; null with an error set.
ref make_dtype(dtype t) noexcept;

/// Reads a dtype in any spelling: name, `dlpack_bridge.dtype`, a NumPy dtype or scalar type, a
/// torch or ml_dtypes dtype, Python's bool, int, float, complex. Empty with TypeError (no dtype at
/// all) or ValueError (a dtype the hub does not know, or in the other byte order) set.
std::optional<dtype> dtype_from_object(PyObject* object) noexcept;

}  // namespace dlpack_bridge::python
