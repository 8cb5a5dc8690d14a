#pragma once

// NumPy's C API and its dtypes, for the files that use it: one table of functions for all of them.

#include <array>
#include <bit>
#include <cstddef>
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

/// Elements of NumPy's own type numbers; lanes 0 where DLPack has none.
inline constexpr std::array<dtype, NPY_NTYPES_LEGACY> numbered_dtypes = [] {
  std::array<dtype, NPY_NTYPES_LEGACY> types;
  for (dtype& t : types) t.lanes = 0;
  types[NPY_BOOL] = boolean;
  types[NPY_BYTE] = int8;
  types[NPY_UBYTE] = uint8;
  types[NPY_SHORT] = int16;
  types[NPY_USHORT] = uint16;
  types[NPY_INT] = int32;
  types[NPY_UINT] = uint32;
  types[NPY_LONG] = dtype(kDLInt, 8 * sizeof(long));
  types[NPY_ULONG] = dtype(kDLUInt, 8 * sizeof(long));
  types[NPY_LONGLONG] = int64;
  types[NPY_ULONGLONG] = uint64;
  types[NPY_HALF] = float16;
  types[NPY_FLOAT] = float32;
  types[NPY_DOUBLE] = float64;
  types[NPY_CFLOAT] = complex64;
  types[NPY_CDOUBLE] = complex128;
  return types;
}();

/// The elements of a type that was registered with NumPy (ml_dtypes does); lanes 0 for others.
dtype registered_dtype_of(int type_num) noexcept;

/// The elements of a NumPy type number; lanes 0 when DLPack has no such element.
inline dtype dtype_of_number(int type_num) noexcept {
  const bool numbered = type_num >= 0 && type_num < NPY_NTYPES_LEGACY;
  return numbered ? numbered_dtypes[static_cast<std::size_t>(type_num)]
                  : registered_dtype_of(type_num);
}

/// NumPy's descriptor of an element type, borrowed; null when it has none, with an error set when
/// ml_dtypes, which has it, cannot be imported.
PyArray_Descr* descriptor_of(dtype t) noexcept;

/// The elements that NumPy has with the help of ml_dtypes.
inline constexpr dtype_set from_ml_dtypes = float8_dtypes.with(dtype_set(dtype_id::bfloat16));

/// Whether ml_dtypes is installed. Looks without importing: most programs have no use for it.
bool has_ml_dtypes() noexcept;

/// True for elements in the other byte order.
inline bool is_swapped(const PyArray_Descr* descr) noexcept {
  return descr->byteorder == (std::endian::native == std::endian::little ? '>' : '<');
}

/// The dtype as NumPy writes it, for a message.
std::string dtype_words(PyArray_Descr* descr);

}  // namespace dlpack_bridge::python
