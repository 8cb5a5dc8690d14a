#pragma once

#define PY_SSIZE_T_CLEAN
#include <utility>

#include <Python.h>

namespace dlpack_bridge::python {

/// Owns one reference to a Python object, or none. Needs the GIL wherever a reference changes.
class ref {
 public:
  constexpr ref() noexcept = default;
  ref(ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  ref& operator=(ref&& other) noexcept {
    Py_XSETREF(object_, std::exchange(other.object_, nullptr));
    return *this;
  }
  ~ref() { Py_XDECREF(object_); }

  /// Takes a new reference that the caller owns.
  static ref steal(PyObject* object) noexcept { return ref(object); }
  /// Makes a new reference of its own.
  static ref borrow(PyObject* object) noexcept {
    Py_XINCREF(object);
    return ref(object);
  }

  PyObject* get() const noexcept { return object_; }
  PyObject* release() noexcept { return std::exchange(object_, nullptr); }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  explicit ref(PyObject* object) noexcept : object_(object) {}
  PyObject* object_ = nullptr;
};

/// The attribute of a type along its bases, without descriptors or instances; borrowed, or null
/// without an error set. Dunders are looked up so: probing an instance can run a property that
/// raises or prints.
PyObject* type_attribute(PyTypeObject* type, PyObject* name) noexcept;

/// An attribute of any object, or nothing; never leaves an error set.
ref attribute_or_none(PyObject* object, const char* name) noexcept;

/// `sys.modules[name]`, borrowed, or null: looks without importing.
PyObject* loaded_module(const char* name) noexcept;

/// Saves the current Python error and puts it back: what runs in between may use errors freely.
class error_guard {
 public:
  error_guard() noexcept { PyErr_Fetch(&type_, &value_, &traceback_); }
  error_guard(const error_guard&) = delete;
  error_guard& operator=(const error_guard&) = delete;
  ~error_guard() { PyErr_Restore(type_, value_, traceback_); }

 private:
  PyObject* type_;
  PyObject* value_;
  PyObject* traceback_;
};

/// Whether the current error is an answer to a question: no interrupt, no exit, no lack of memory.
inline bool is_answer_error() noexcept {
  return PyErr_ExceptionMatches(PyExc_Exception) && !PyErr_ExceptionMatches(PyExc_MemoryError);
}

/// Takes the current error as an exception object with its traceback; empty when none is set.
ref take_error() noexcept;

}  // namespace dlpack_bridge::python
