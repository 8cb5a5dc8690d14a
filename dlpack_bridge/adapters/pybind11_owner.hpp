#pragma once

// Python objects as owners: `share(data, shape, strides, type, object)` keeps a `py::object`.

#include <pybind11/pybind11.h>

#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/python/result.hpp>

namespace dlpack_bridge {

/// Takes a reference, which any thread may drop. A Python object is never called, though in C++ each of
/// them can be.
template <class T>
  requires(pybind11::detail::is_pyobject<T>::value)
struct keeper<T> {
  static owner keep(const T& object) {
    return python::keep_object(pybind11::reinterpret_borrow<pybind11::object>(object).ptr());
  }
};

}  // namespace dlpack_bridge
