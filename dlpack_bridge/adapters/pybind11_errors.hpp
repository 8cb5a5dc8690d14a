#pragma once

// What the hub throws in the body of a function arrives in Python as the hub's own exceptions.

#include <exception>

#include <pybind11/pybind11.h>

#include <dlpack_bridge/error.hpp>
#include <dlpack_bridge/python/result.hpp>

PYBIND11_NAMESPACE_BEGIN(PYBIND11_NAMESPACE)
PYBIND11_NAMESPACE_BEGIN(detail)

inline void translate_hub_errors(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const dlpack_bridge::exchange_error&) {
    dlpack_bridge::python::raise_hub_error();
  } catch (const dlpack_bridge::device_error&) {
    dlpack_bridge::python::raise_hub_error();
  }
}

/// For the functions of this extension alone; what its author registers comes first. False where no
/// interpreter runs yet: the program embeds one.
inline bool register_hub_errors() noexcept {
  if (!Py_IsInitialized() || !PyGILState_Check()) return false;
  try {
    register_local_exception_translator(translate_hub_errors);
    return true;
  } catch (...) {  // pybind11 says why when the module is made
    return false;
  }
}

// When the extension is loaded: a function without array arguments may be the first that throws.
inline bool hub_errors_registered = register_hub_errors();

/// A program that embeds Python is loaded before an interpreter runs: with the first array that its
/// functions take or give.
inline void ensure_hub_errors() noexcept {
  if (!hub_errors_registered) [[unlikely]]
    hub_errors_registered = register_hub_errors();
}

PYBIND11_NAMESPACE_END(detail)
PYBIND11_NAMESPACE_END(PYBIND11_NAMESPACE)
