#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

PyObject* type_attribute(PyTypeObject* type, PyObject* name) noexcept {
  PyObject* mro = type->tp_mro;
  if (mro == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); ++i) {
    auto* base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(mro, i));
#if PY_VERSION_HEX >= 0x030C0000
    const ref dict = ref::steal(PyType_GetDict(base));
    PyObject* found = dict ? PyDict_GetItemWithError(dict.get(), name) : nullptr;
#else
    PyObject* found = base->tp_dict ? PyDict_GetItemWithError(base->tp_dict, name) : nullptr;
#endif
    if (found != nullptr) return found;
    PyErr_Clear();
  }
  return nullptr;
}

ref attribute_or_none(PyObject* object, const char* name) noexcept {
  ref found = ref::steal(PyObject_GetAttrString(object, name));
  if (!found) PyErr_Clear();
  return found;
}

PyObject* loaded_module(const char* name) noexcept {
  PyObject* modules = PyImport_GetModuleDict();
  return modules == nullptr ? nullptr : PyDict_GetItemString(modules, name);
}

ref take_error() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  return ref::steal(PyErr_GetRaisedException());
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return {};
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return ref::steal(value);
#endif
}

}  // namespace dlpack_bridge::python
