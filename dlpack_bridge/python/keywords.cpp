#include <dlpack_bridge/python/keywords.hpp>

#include <bit>

#include <dlpack_bridge/python/device_object.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>

namespace dlpack_bridge::python {
namespace {

bool wrong_type(const char* name, const char* expected, PyObject* value) noexcept {
  PyErr_Format(PyExc_TypeError, "%s is %s, got %.200s", name, expected, Py_TYPE(value)->tp_name);
  return false;
}

bool read_dtype(PyObject* value, requirements& wanted) noexcept {
  if (value == Py_None) return true;
  if (PyUnicode_Check(value) && PyUnicode_CompareWithASCIIString(value, "bits") == 0) {
    wanted.bits = true;
    return true;
  }
  wanted.dtype = dtype_from_object(value);
  if (wanted.dtype) return true;
  // A framework's dtype that DLPack lacks: an array that has it already satisfies it.
  if (PyUnicode_Check(value) || !PyErr_ExceptionMatches(PyExc_ValueError)) return false;
  PyErr_Clear();
  wanted.named_dtype = value;
  return true;
}

bool read_device(PyObject* value, requirements& wanted) noexcept {
  if (value == Py_None) return true;
  wanted.device = device_to_use(value);
  return wanted.device.has_value();
}

bool read_detach(PyObject* value, requirements& wanted) noexcept {
  if (!PyBool_Check(value)) return wrong_type("detach", "True or False", value);
  wanted.detach = value == Py_True;
  return true;
}

bool read_readonly(PyObject* value, requirements& wanted) noexcept {
  if (!PyUnicode_Check(value)) {
    return wrong_type("readonly", "\"copy\", \"share\" or \"error\"", value);
  }
  if (is_keyword(value, "copy")) wanted.readonly = readonly_policy::copy;
  else if (is_keyword(value, "share")) wanted.readonly = readonly_policy::share;
  else if (is_keyword(value, "error")) wanted.readonly = readonly_policy::error;
  else {
    PyErr_Format(PyExc_ValueError, "readonly is \"copy\", \"share\" or \"error\", got %R", value);
    return false;
  }
  return true;
}

bool read_order(PyObject* value, requirements& wanted) noexcept {
  if (value == Py_None) return true;
  if (!PyUnicode_Check(value)) return wrong_type("order", "None or \"C\"", value);
  if (!is_keyword(value, "C")) {
    PyErr_Format(PyExc_ValueError, "order is None or \"C\", got %R", value);
    return false;
  }
  wanted.c_order = true;
  return true;
}

bool read_alignment(PyObject* value, requirements& wanted) noexcept {
  if (value == Py_None) return true;
  if (PyBool_Check(value) || !PyIndex_Check(value)) {
    return wrong_type("alignment", "None or a power of two", value);
  }
  const ref index = ref::steal(PyNumber_Index(value));
  const long long bytes = index ? PyLong_AsLongLong(index.get()) : -1;
  if (bytes == -1 && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError)) return false;
  PyErr_Clear();
  constexpr long long largest = 1LL << 40;
  if (bytes < 1 || bytes > largest ||
      !std::has_single_bit(static_cast<unsigned long long>(bytes))) {
    PyErr_Format(PyExc_ValueError, "alignment is None or a power of two, got %R", value);
    return false;
  }
  wanted.alignment = bytes;
  return true;
}

// The handle behind `__cuda_stream__`: a method that gives (0, handle); of older objects an attribute.
ref handle_of_protocol(PyObject* value, PyObject* protocol) noexcept {
  const ref found = ref::steal(PyObject_GetAttr(value, protocol));
  if (!found) return {};
  const bool calls = PyCallable_Check(found.get()) != 0;
  const ref pair = calls ? ref::steal(PyObject_CallNoArgs(found.get())) : ref::borrow(found.get());
  if (!pair) return {};
  const bool is_pair = PyTuple_Check(pair.get()) && PyTuple_GET_SIZE(pair.get()) == 2;
  PyObject* const version = is_pair ? PyTuple_GET_ITEM(pair.get(), 0) : nullptr;
  if (version == nullptr || !PyLong_Check(version)) {
    wrong_type("__cuda_stream__()", "a pair (0, handle)", pair.get());
    return {};
  }
  if (PyObject_IsTrue(version) != 0) {
    PyErr_Format(PyExc_ValueError, "__cuda_stream__() gives version %R, and the hub reads 0",
                 version);
    return {};
  }
  return ref::borrow(PyTuple_GET_ITEM(pair.get(), 1));
}

// The handle behind an object of a framework. A raw handle of 0 is the legacy default stream there.
bool read_stream_object(PyObject* value, requirements& wanted) noexcept {
  static PyObject* const protocol = PyUnicode_InternFromString("__cuda_stream__");
  ref handle;
  if (type_attribute(Py_TYPE(value), protocol) != nullptr) {
    handle = handle_of_protocol(value, protocol);
    if (!handle) return false;
  } else {
    handle = attribute_or_none(value, "cuda_stream");       // torch before 2.10
    if (!handle) handle = attribute_or_none(value, "ptr");  // CuPy before 14
  }
  if (!handle || !PyLong_Check(handle.get()) || PyBool_Check(handle.get())) {
    return wrong_type("stream", "None, an int or a stream object", value);
  }
  void* raw = PyLong_AsVoidPtr(handle.get());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    wanted.refused_stream = INT64_MAX;
    return true;
  }
  wanted.stream = stream_handle::from_native(raw);
  wanted.stream_object = value;
  return true;
}

// The protocol's number, NumPy's ints too, or an object of a framework.
bool read_stream(PyObject* value, requirements& wanted) noexcept {
  if (value == Py_None) return true;
  if (PyBool_Check(value) || PyUnicode_Check(value)) {
    return wrong_type("stream", "None, an int or a stream object", value);
  }
  if (!PyIndex_Check(value)) return read_stream_object(value, wanted);
  const ref index = ref::steal(PyNumber_Index(value));
  if (!index) return false;
  int beyond = 0;
  const long long number = PyLong_AsLongLongAndOverflow(index.get(), &beyond);
  if (beyond != 0) {
    wanted.refused_stream = beyond > 0 ? INT64_MAX : INT64_MIN;
    return true;
  }
  if (const auto read = stream_handle::from_protocol(kDLCUDA, number)) wanted.stream = *read;
  else wanted.refused_stream = number;
  return true;
}

// Both in the order of keyword.
using conversion_names = keyword_names<8>;
const conversion_names& names_of_conversions() noexcept {
  static const conversion_names names{"dtype",    "device", "copy",      "detach",
                                      "readonly", "order",  "alignment", "stream"};
  return names;
}

using keyword_reader = bool (*)(PyObject* value, requirements& wanted) noexcept;
constexpr keyword_reader readers[] = {read_dtype,    read_device, read_copy,      read_detach,
                                      read_readonly, read_order,  read_alignment, read_stream};

bool read_named(const conversion_names& known, const char* function, PyObject* name,
                PyObject* value, keyword_set allowed, requirements& wanted) noexcept {
  const int row = known.find(name);
  if (row < 0 || !allowed.contains(static_cast<keyword>(row))) {
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
    return false;
  }
  return readers[row](value, wanted);
}

}  // namespace

bool is_keyword(PyObject* value, const char* text) noexcept {
  return PyUnicode_CompareWithASCIIString(value, text) == 0;
}

bool read_copy(PyObject* value, requirements& wanted) noexcept {
  if (value == Py_None) wanted.copy = copy_policy::if_needed;
  else if (value == Py_True) wanted.copy = copy_policy::always;
  else if (value == Py_False) wanted.copy = copy_policy::never;
  else return wrong_type("copy", "None, True or False", value);
  return true;
}

bool read_keyword(const char* function, PyObject* name, PyObject* value, keyword_set allowed,
                  requirements& wanted) noexcept {
  return read_named(names_of_conversions(), function, name, value, allowed, wanted);
}

bool read_keywords(const char* function, PyObject* const* values, PyObject* names,
                   keyword_set allowed, requirements& wanted) noexcept {
  if (names == nullptr) return true;
  const conversion_names& known = names_of_conversions();
  const Py_ssize_t count = PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    if (!read_named(known, function, name, values[i], allowed, wanted)) return false;
  }
  return true;
}

}  // namespace dlpack_bridge::python
