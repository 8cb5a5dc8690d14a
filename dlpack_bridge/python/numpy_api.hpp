#pragma once

// NumPy's C API and its dtypes, for the files that use it: one table of functions for all of them.

#include <string>

#include <dlpack_bridge/python/object.hpp>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_1_23_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL dlpack_bridge_numpy_api
#ifndef DLPACK_BRIDGE_OWNS_NUMPY_API
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <dlpack_bridge/dtype.hpp>

namespace dlpack_bridge::python {

/// Fills the table of functions; false when NumPy cannot be imported.
bool load_numpy_api() noexcept;

/// The elements of a NumPy type number; lanes 0 when DLPack has no such element.
dtype dtype_of_number(int type_num) noexcept;

/// NumPy's descriptor of an element type, borrowed; null when it has none, with an error set when
/// ml_dtypes, which has it, cannot be imported.
PyArray_Descr* descriptor_of(dtype t) noexcept;

/// The elements that NumPy has with the help of ml_dtypes.
inline constexpr dtype_set from_ml_dtypes = float8_dtypes.with(dtype_set(dtype_id::bfloat16));

/// Whether ml_dtypes is installed. Looks without importing: most programs have no use for it.
bool has_ml_dtypes() noexcept;

/// True for elements in the other byte order.
bool is_swapped(PyArray_Descr* descr) noexcept;

/// The dtype as NumPy writes it, for a message.
std::string dtype_words(PyArray_Descr* descr);

}  // namespace dlpack_bridge::python
