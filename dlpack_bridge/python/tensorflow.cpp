#include <dlpack_bridge/python/tensorflow.hpp>

#include <string_view>

namespace dlpack_bridge::python {

bool tensorflow_says_host(PyObject* x) noexcept {
  static PyObject* const backing_device = PyUnicode_InternFromString("backing_device");
  const ref name = ref::steal(PyObject_GetAttr(x, backing_device));
  const char* text = name && PyUnicode_Check(name.get()) ? PyUnicode_AsUTF8(name.get()) : nullptr;
  if (text == nullptr && is_answer_error()) PyErr_Clear();
  // "/job:localhost/replica:0/task:0/device:CPU:0"
  return text != nullptr && std::string_view(text).find("/device:CPU:") != std::string_view::npos;
}

PyObject* tensorflow_to_dlpack(PyObject* dlpack) noexcept {
  static PyObject *own = nullptr, *function = nullptr;
  if (function != nullptr) return dlpack == own ? function : nullptr;
  PyObject* const ops = loaded_module("tensorflow.python.framework.ops");
  const ref type = ops != nullptr ? attribute_or_none(ops, "EagerTensor") : ref();
  const ref method = type ? attribute_or_none(type.get(), "__dlpack__") : ref();
  if (!method || method.get() != dlpack) return nullptr;
  PyObject* const module = loaded_module("tensorflow.python.dlpack.dlpack");
  function = module != nullptr ? attribute_or_none(module, "to_dlpack").release() : nullptr;
  if (function != nullptr) own = ref::borrow(dlpack).release();
  return function;
}

}  // namespace dlpack_bridge::python
