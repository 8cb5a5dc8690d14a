#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <dlpack_bridge/capabilities.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

// Small conversions between Python objects and plain values.

/// A str. Empty with an error set.
ref text(const std::string& value) noexcept;

/// The characters of a str, borrowed from it; empty with an error set.
std::optional<std::string_view> utf8(PyObject* object) noexcept;

/// `str(object)` for a message; `otherwise` where that raises and for null. Never leaves an error set.
std::string words(PyObject* object, const char* otherwise = "unknown");

/// An int from 0 to `largest`; empty with TypeError or ValueError set.
std::optional<int> small_int(PyObject* object, int largest) noexcept;

/// The ints of a tuple or list, written to `out`, which has space for `most_held_axes`. Returns how
/// many; -1 without an error when it is neither, is too long or holds something else.
int read_extents(PyObject* object, std::int64_t* out) noexcept;

/// The same of `x.shape`, whatever sequence that is.
int read_shape(PyObject* x, std::int64_t* out) noexcept;

/// True when the type of an object has this module-qualified name; for types of frameworks that may
/// not be imported.
bool is_type_named(PyObject* object, std::string_view qualified) noexcept;

/// Clears the error of a failed reading. True when it was a TypeError: the other side of a comparison may
/// know better what it is.
bool is_foreign_error() noexcept;

/// `tp_dealloc` of a heap type whose objects hold nothing that needs releasing.
void plain_dealloc(PyObject* self);

}  // namespace dlpack_bridge::python
