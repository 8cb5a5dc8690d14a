// The Python module: puts the functions and types of dlpack_bridge/python/ into dlpack_bridge._core.

#include <pybind11/pybind11.h>

#include "reports.hpp"
#ifdef DLPACK_BRIDGE_HAS_CUDA
#include <dlpack_bridge/cuda/backend.hpp>
#endif
#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/device_object.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/entry.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/tree.hpp>
#include <dlpack_bridge/version.hpp>

namespace py = pybind11;
namespace hub = dlpack_bridge::python;

PYBIND11_MODULE(_core, m) {
#ifdef DLPACK_BRIDGE_HAS_CUDA
  dlpack_bridge::cuda::use();
#endif
  if (!hub::initialize_python()) throw py::error_already_set();
  // Users see one module: functions and types made here name the package as theirs.
  const py::object own_name = m.attr("__name__");
  m.attr("__name__") = "dlpack_bridge";
  for (PyMethodDef* functions : {hub::entry_methods(), hub::tree_methods()}) {
    if (PyModule_AddFunctions(m.ptr(), functions) != 0) throw py::error_already_set();
  }
  m.attr("Array") = py::handle(reinterpret_cast<PyObject*>(hub::array_type()));
  m.attr("dtype") = py::handle(reinterpret_cast<PyObject*>(hub::dtype_type()));
  m.attr("device") = py::handle(reinterpret_cast<PyObject*>(hub::device_type()));
  m.attr("Reason") = py::handle(reinterpret_cast<PyObject*>(hub::state().reason_type));
  m.attr("ExchangeError") = py::handle(hub::state().exchange_error);
  m.attr("CopyRequiredError") = py::handle(hub::state().copy_required_error);
  m.attr("NotAnArrayError") = py::handle(hub::state().not_an_array_error);
  m.attr("CudaError") = py::handle(hub::state().cuda_error);
  m.attr("__version__") = DLPACK_BRIDGE_VERSION_STRING;
  py::options signatures;  // the docstrings carry their own, which inspect can read
  signatures.disable_function_signatures();
  dlpack_bridge::bindings::add_plan(m);
  dlpack_bridge::bindings::add_trace(m);
  dlpack_bridge::bindings::add_info(m);
  dlpack_bridge::bindings::add_stats(m);
  m.attr("__name__") = own_name;
}
