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

std::string words(PyObject* object, const char* otherwise) {
  const ref printed = ref::steal(object == nullptr ? nullptr : PyObject_Str(object));
  const char* found = printed ? PyUnicode_AsUTF8(printed.get()) : nullptr;
  if (found == nullptr) PyErr_Clear();
  return found == nullptr ? otherwise : found;
}

int read_extents(PyObject* object, std::int64_t* out) noexcept {
  // A list may change while its elements are asked for their values.
  const ref values = PyList_Check(object)    ? ref::steal(PyList_AsTuple(object))
                     : PyTuple_Check(object) ? ref::borrow(object)
                                             : ref();
  const Py_ssize_t count = values ? PyTuple_GET_SIZE(values.get()) : most_held_axes + 1;
  for (Py_ssize_t i = 0; i < count && count <= most_held_axes && !PyErr_Occurred(); ++i) {
    const ref value = ref::steal(PyNumber_Index(PyTuple_GET_ITEM(values.get(), i)));
    if (value) out[i] = PyLong_AsLongLong(value.get());
  }
  const bool all = count <= most_held_axes && !PyErr_Occurred();
  PyErr_Clear();
  return all ? static_cast<int>(count) : -1;
}

int read_shape(PyObject* x, std::int64_t* out) noexcept {
  const ref shape = attribute_or_none(x, "shape");
  const ref extents = shape ? ref::steal(PySequence_Tuple(shape.get())) : ref();
  PyErr_Clear();
  return extents ? read_extents(extents.get(), out) : -1;
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

bool is_foreign_error() noexcept {
  const bool foreign = PyErr_ExceptionMatches(PyExc_TypeError) != 0;
  PyErr_Clear();
  return foreign;
}

void plain_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace dlpack_bridge::python
