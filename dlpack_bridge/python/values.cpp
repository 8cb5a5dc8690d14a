#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {

ref text(const std::string& value) noexcept {
  return ref::steal(
      PyUnicode_FromStringAndSize(value.data(), static_cast<Py_ssize_t>(value.size())));
}

std::optional<std::string_view> utf8(PyObject* object) noexcept {
  Py_ssize_t length;
  const char* data = PyUnicode_AsUTF8AndSize(object, &length);
  if (data == nullptr) return std::nullopt;
  return std::string_view(data, static_cast<std::size_t>(length));
}

bool is_type_named(PyObject* object, std::string_view qualified) noexcept {
  return qualified == Py_TYPE(object)->tp_name;
}

std::optional<int> small_int(PyObject* object, int largest) noexcept {
  int beyond = 0;
  const long value = PyLong_AsLongAndOverflow(object, &beyond);
  if (value == -1 && PyErr_Occurred()) return std::nullopt;
  if (beyond != 0 || value < 0 || value > largest) {
    PyErr_Format(PyExc_ValueError, "%R is out of range", object);
    return std::nullopt;
  }
  return static_cast<int>(value);
}

void plain_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace dlpack_bridge::python
