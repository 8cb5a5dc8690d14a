#include <vector>

#include <Python.h>

#include <dlpack_bridge/dlpack_bridge.hpp>

namespace {

PyObject* check(PyObject*, PyObject*) {
  const auto tensor = dlpack_bridge::share(std::vector<float>{1, 2, 3});
  if (dlpack_bridge::live_managed_tensors() == 1) Py_RETURN_NONE;
  PyErr_SetString(PyExc_AssertionError, "one live managed tensor expected");
  return nullptr;
}

PyMethodDef methods[] = {{"check", check, METH_NOARGS, nullptr}, {}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "consumer", nullptr, -1, methods};

}  // namespace

PyMODINIT_FUNC PyInit_consumer() { return PyModule_Create(&definition); }
