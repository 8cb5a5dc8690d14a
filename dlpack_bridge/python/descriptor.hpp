#pragma once

#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// A read-only attribute of a type, read through its C function when it has one: no look-up per
/// call. Falls back to the ordinary look-up for attributes written in Python.
class getter {
 public:
  getter() noexcept = default;
  getter(PyTypeObject* type, const char* name) noexcept;

  /// The value for an instance of the type, or empty with an error set.
  ref operator()(PyObject* instance) const noexcept {
    return ref::steal(function_ != nullptr ? function_(instance, closure_)
                                           : PyObject_GetAttr(instance, name_));
  }

 private:
  ::getter function_ = nullptr;
  void* closure_ = nullptr;
  PyObject* name_ = nullptr;  // interned, kept for ever
};

/// A method without arguments, called through its C function when it has one.
class no_argument_method {
 public:
  no_argument_method() noexcept = default;
  no_argument_method(PyTypeObject* type, const char* name) noexcept;

  ref operator()(PyObject* instance) const noexcept {
    return ref::steal(function_ != nullptr ? function_(instance, nullptr)
                                           : PyObject_CallMethodNoArgs(instance, name_));
  }

 private:
  PyCFunction function_ = nullptr;
  PyObject* name_ = nullptr;
};

}  // namespace dlpack_bridge::python
