#pragma once

#include <dlpack_bridge/array.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

// Arrays of C++ on their way to Python, by the road. All need the GIL; `t` is gone after an error; a
// new reference, or null with an error set: ExchangeError (`malformed`) for one that is empty.

/// As a function gives it that says nothing: a NumPy array that shares the memory, or an `Array` where
/// NumPy cannot hold it or is not installed.
PyObject* give(managed_tensor t) noexcept;

/// As an array of one framework.
PyObject* give(managed_tensor t, framework to) noexcept;

/// As an array of the framework and on the device that another array came from; `give(t)` for one that
/// came from C++ or from no framework that the hub knows.
PyObject* give_back(managed_tensor t, const array_origin& origin) noexcept;

/// A second tensor of the same memory, for a result; `t` stays. After a throw it may be empty.
managed_tensor second_of(managed_tensor& t);

/// An owner of memory that a Python object keeps alive: takes a reference, which may be dropped on any
/// thread, with or without the GIL. Needs the GIL.
/// @throws std::invalid_argument for null, std::runtime_error with a Python error set when the hub cannot
/// be initialised
owner keep_object(PyObject* object);

/// Turns the hub's C++ exception in flight into its Python one. Call inside a catch block.
void raise_hub_error() noexcept;

}  // namespace dlpack_bridge::python
