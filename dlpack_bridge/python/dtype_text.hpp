#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <dlpack_bridge/dtype.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

// Element types as the buffer protocol and the array interface write them. Reading gives nothing where
// DLPack has no such element.

/// An element type that was read.
struct written_dtype {
  dtype type;
  bool swapped;  ///< the elements are in the other byte order
};

/// Reads the format of a buffer: one item of the struct module's language.
std::optional<written_dtype> dtype_from_format(std::string_view format,
                                               Py_ssize_t itemsize) noexcept;
/// The format of a buffer of such elements; null where there is none.
const char* format_of(dtype type) noexcept;

/// Reads '<f4' and the like: byte order, kind and bytes.
std::optional<written_dtype> dtype_from_typestr(std::string_view text) noexcept;
/// Writes it; empty when NumPy has no such type of its own.
std::string typestr_of(dtype type);

}  // namespace dlpack_bridge::python
