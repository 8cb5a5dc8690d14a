// A Python module of someone else that hands out an array of its own through the python component.
#include <vector>

#include <dlpack_bridge/dlpack_bridge.hpp>
#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/process_state.hpp>

namespace {

PyObject* make(PyObject*, PyObject*) {
  return dlpack_bridge::python::make_versioned_capsule(
             dlpack_bridge::share(std::vector<float>{1, 2, 3}))
      .release();
}

PyObject* live(PyObject*, PyObject*) {
  return PyLong_FromLongLong(dlpack_bridge::live_managed_tensors());
}

PyMethodDef methods[] = {
    {"make", make, METH_NOARGS, nullptr}, {"live", live, METH_NOARGS, nullptr}, {}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT, "consumer", nullptr, -1, methods};

}  // namespace

PyMODINIT_FUNC PyInit_consumer() {
  if (!dlpack_bridge::python::initialize_process_state()) return nullptr;
  return PyModule_Create(&definition);
}
