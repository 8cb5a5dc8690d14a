#pragma once

#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

// Arrays of C++ on their way to Python, by the road. All need the GIL; `t` is gone after an error; a
// new reference, or null with an error set.

/// As a function gives it that says nothing: a NumPy array that shares the memory, or an `Array` where
/// NumPy cannot hold it or is not installed.
PyObject* give(managed_tensor t) noexcept;

/// As an array of one framework.
PyObject* give(managed_tensor t, framework to) noexcept;

/// As an array of the framework and on the device that another array came from; `give(t)` for one that
/// came from C++ or from no framework that the hub knows.
PyObject* give_back(managed_tensor t, const array_origin& origin) noexcept;

}  // namespace dlpack_bridge::python
