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

namespace {

// The state of the hub is one per process, and its types belong to one interpreter.
constexpr const char* not_here =
    "dlpack_bridge supports the main interpreter only, and this is a subinterpreter";

bool in_main_interpreter() noexcept {
  return PyInterpreterState_Get() == PyInterpreterState_Main();
}

}  // namespace

PYBIND11_MODULE(_core_in_main, m) {
  if (!in_main_interpreter()) throw py::import_error(not_here);  // Python 3.13 enters here only
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
#ifdef DLPACK_BRIDGE_HAS_GATHER
  m.attr("_has_gather_kernels") = true;
#else
  m.attr("_has_gather_kernels") = false;
#endif
  py::options signatures;  // the docstrings carry their own, which inspect can read
  signatures.disable_function_signatures();
  dlpack_bridge::bindings::add_plan(m);
  dlpack_bridge::bindings::add_trace(m);
  dlpack_bridge::bindings::add_info(m);
  dlpack_bridge::bindings::add_stats(m);
  m.attr("__name__") = own_name;
}

// Asked before pybind11 is, which waits for ever in a subinterpreter of Python 3.10 and 3.11.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (in_main_interpreter()) return PyInit__core_in_main();
  PyErr_SetString(PyExc_ImportError, not_here);
  return nullptr;
}
