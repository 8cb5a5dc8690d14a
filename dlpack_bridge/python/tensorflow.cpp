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

}  // namespace dlpack_bridge::python
