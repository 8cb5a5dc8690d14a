#include <dlpack_bridge/python/descriptor.hpp>

namespace dlpack_bridge::python {

getter::getter(PyTypeObject* type, const char* name) noexcept
    : name_(PyUnicode_InternFromString(name)) {
  PyObject* descriptor = type_attribute(type, name_);
  if (descriptor == nullptr || Py_TYPE(descriptor) != &PyGetSetDescr_Type) return;
  const PyGetSetDef* def = reinterpret_cast<PyGetSetDescrObject*>(descriptor)->d_getset;
  function_ = def->get;
  closure_ = def->closure;
}

no_argument_method::no_argument_method(PyTypeObject* type, const char* name) noexcept
    : name_(PyUnicode_InternFromString(name)) {
  PyObject* descriptor = type_attribute(type, name_);
  if (descriptor == nullptr || Py_TYPE(descriptor) != &PyMethodDescr_Type) return;
  const PyMethodDef* def = reinterpret_cast<PyMethodDescrObject*>(descriptor)->d_method;
  if (def->ml_flags == METH_NOARGS) function_ = def->ml_meth;
}

}  // namespace dlpack_bridge::python
