#include <dlpack_bridge/python/dtype_object.hpp>

#include <structmember.h>

#include <limits>
#include <string>

#include <dlpack_bridge/python/numpy.hpp>

namespace dlpack_bridge::python {
namespace {

struct dtype_object {
  PyObject_HEAD
  dtype value;
};

struct device_object {
  PyObject_HEAD
  device value;
};

PyTypeObject* dtype_type_ = nullptr;
PyTypeObject* device_type_ = nullptr;
PyObject* known_objects[known_dtypes] = {};

ref text(const std::string& value) noexcept {
  return ref::steal(PyUnicode_FromStringAndSize(value.data(), static_cast<Py_ssize_t>(value.size())));
}

std::optional<std::string_view> utf8(PyObject* object) noexcept {
  Py_ssize_t length;
  const char* data = PyUnicode_AsUTF8AndSize(object, &length);
  if (data == nullptr) return std::nullopt;
  return std::string_view(data, static_cast<std::size_t>(length));
}

// ---- dtype ---------------------------------------------------------------------------------

dtype value_of(PyObject* object) noexcept {
  return reinterpret_cast<dtype_object*>(object)->value;
}

ref allocate_dtype(dtype t) noexcept {
  ref made = ref::steal(dtype_type_->tp_alloc(dtype_type_, 0));
  if (made) reinterpret_cast<dtype_object*>(made.get())->value = t;
  return made;
}

PyObject* dtype_new(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  PyObject* object;
  if (kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0) {
    PyErr_SetString(PyExc_TypeError, "dtype() takes no keyword arguments");
    return nullptr;
  }
  if (!PyArg_ParseTuple(args, "O:dtype", &object)) return nullptr;
  const std::optional<dtype> read = dtype_from_object(object);
  return read ? make_dtype(*read).release() : nullptr;
}

void plain_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* dtype_str(PyObject* self) { return text(value_of(self).name()).release(); }

PyObject* dtype_repr(PyObject* self) {
  return PyUnicode_FromFormat("dlpack_bridge.dtype('%s')", value_of(self).name().c_str());
}

Py_hash_t dtype_hash(PyObject* self) {
  const ref name = ref::steal(dtype_str(self));
  return name ? PyObject_Hash(name.get()) : -1;
}

PyObject* dtype_compare(PyObject* self, PyObject* other, int op) {
  if (op != Py_EQ && op != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  bool same;
  if (PyUnicode_Check(other)) {
    const std::optional<std::string_view> name = utf8(other);
    if (!name) return nullptr;
    same = *name == value_of(self).name();
  } else {
    const std::optional<dtype> read = dtype_from_object(other);
    if (!read) PyErr_Clear();
    same = read && *read == value_of(self);
  }
  return PyBool_FromLong(same == (op == Py_EQ));
}

PyObject* dtype_name(PyObject* self, void*) { return dtype_str(self); }
PyObject* dtype_code(PyObject* self, void*) { return PyLong_FromLong(value_of(self).code); }
PyObject* dtype_bits(PyObject* self, void*) { return PyLong_FromLong(value_of(self).bits); }
PyObject* dtype_lanes(PyObject* self, void*) { return PyLong_FromLong(value_of(self).lanes); }
PyObject* dtype_itemsize(PyObject* self, void*) {
  return PyLong_FromLongLong(value_of(self).itemsize());
}

PyObject* dtype_reduce(PyObject* self, PyObject*) {
  const dtype t = value_of(self);
  return Py_BuildValue("O((iii))", dtype_type_, t.code, t.bits, t.lanes);
}

// ---- device --------------------------------------------------------------------------------

device place_of(PyObject* object) noexcept {
  return reinterpret_cast<device_object*>(object)->value;
}

PyObject* device_str(PyObject* self) { return text(place_of(self).name()).release(); }

PyObject* device_repr(PyObject* self) {
  return PyUnicode_FromFormat("dlpack_bridge.device('%s')", place_of(self).name().c_str());
}

Py_hash_t device_hash(PyObject* self) {
  const ref name = ref::steal(device_str(self));
  return name ? PyObject_Hash(name.get()) : -1;
}

PyObject* device_compare(PyObject* self, PyObject* other, int op) {
  if (op != Py_EQ && op != Py_NE) Py_RETURN_NOTIMPLEMENTED;
  const std::optional<device> read = device_from_object(other);
  if (!read) PyErr_Clear();
  const bool same = read && *read == place_of(self);
  return PyBool_FromLong(same == (op == Py_EQ));
}

PyObject* device_type_number(PyObject* self, void*) { return PyLong_FromLong(place_of(self).type); }
PyObject* device_id(PyObject* self, void*) { return PyLong_FromLong(place_of(self).id); }

PyObject* device_new(PyTypeObject*, PyObject* args, PyObject*) {
  PyObject* object;
  if (!PyArg_ParseTuple(args, "O:device", &object)) return nullptr;
  const std::optional<device> read = device_from_object(object);
  return read ? make_device(*read).release() : nullptr;
}

PyObject* device_reduce(PyObject* self, PyObject*) {
  const device d = place_of(self);
  return Py_BuildValue("O((ii))", device_type_, static_cast<int>(d.type), d.id);
}

PyTypeObject* make_dtype_type() noexcept {
  static PyGetSetDef attributes[] = {
      {"name", dtype_name, nullptr, "As users write it: \"float32\".", nullptr},
      {"code", dtype_code, nullptr, "DLPack's type code.", nullptr},
      {"bits", dtype_bits, nullptr, "Bits of one lane.", nullptr},
      {"lanes", dtype_lanes, nullptr, "Lanes of one element.", nullptr},
      {"itemsize", dtype_itemsize, nullptr, "Bytes of one element.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", dtype_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>(
                      "dtype(x, /)\n--\n\nAn element type, from a name or any framework's dtype.\n\n"
                      "Equal to its name and to NumPy's, torch's and ml_dtypes' dtype of the same "
                      "elements; hashes as its name.\n\nErrors: TypeError for what is no dtype, "
                      "ValueError for a dtype the hub does not know.")},
      {Py_tp_new, reinterpret_cast<void*>(dtype_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(plain_dealloc)},
      {Py_tp_str, reinterpret_cast<void*>(dtype_str)},
      {Py_tp_repr, reinterpret_cast<void*>(dtype_repr)},
      {Py_tp_hash, reinterpret_cast<void*>(dtype_hash)},
      {Py_tp_richcompare, reinterpret_cast<void*>(dtype_compare)},
      {Py_tp_getset, attributes},
      {Py_tp_methods, methods},
      {0, nullptr}};
  static PyType_Spec spec = {"dlpack_bridge.dtype", sizeof(dtype_object), 0, Py_TPFLAGS_DEFAULT,
                             slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

PyTypeObject* make_device_type() noexcept {
  static PyGetSetDef attributes[] = {
      {"name", [](PyObject* self, void*) { return device_str(self); }, nullptr,
       "As users write it: \"cuda:0\".", nullptr},
      {"type", device_type_number, nullptr, "DLPack's device type, an int.", nullptr},
      {"id", device_id, nullptr, "The index of the device.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", device_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>(
                      "Where an array lives. Equal to its name (\"cuda:0\") and to its DLPack tuple "
                      "(2, 0); hashes as its name.")},
      {Py_tp_new, reinterpret_cast<void*>(device_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(plain_dealloc)},
      {Py_tp_str, reinterpret_cast<void*>(device_str)},
      {Py_tp_repr, reinterpret_cast<void*>(device_repr)},
      {Py_tp_hash, reinterpret_cast<void*>(device_hash)},
      {Py_tp_richcompare, reinterpret_cast<void*>(device_compare)},
      {Py_tp_getset, attributes},
      {Py_tp_methods, methods},
      {0, nullptr}};
  static PyType_Spec spec = {"dlpack_bridge.device", sizeof(device_object), 0, Py_TPFLAGS_DEFAULT,
                             slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

// ---- reading -------------------------------------------------------------------------------

std::optional<dtype> unknown_dtype(PyObject* object) noexcept {
  PyErr_Format(PyExc_ValueError, "%R names no element type of DLPack; see dlpack_bridge.dtype",
               object);
  return std::nullopt;
}

// A torch dtype prints as "torch.float32"; names that differ from ours have no entry here.
std::optional<dtype> dtype_from_module_name(PyObject* object) noexcept {
  const ref printed = ref::steal(PyObject_Str(object));
  const std::optional<std::string_view> name = printed ? utf8(printed.get()) : std::nullopt;
  if (!name) return std::nullopt;
  const std::optional<dtype> read = dtype::from_name(name->substr(name->rfind('.') + 1));
  return read ? read : unknown_dtype(object);
}

bool is_type_named(PyObject* object, std::string_view qualified) noexcept {
  return qualified == Py_TYPE(object)->tp_name;
}

std::optional<int> small_int(PyObject* object, int largest) noexcept {
  const long value = PyLong_AsLong(object);
  if (value == -1 && PyErr_Occurred()) return std::nullopt;
  if (value < 0 || value > largest) {
    PyErr_Format(PyExc_ValueError, "%ld is out of range", value);
    return std::nullopt;
  }
  return static_cast<int>(value);
}

std::optional<dtype> dtype_from_tuple(PyObject* tuple) noexcept {
  if (PyTuple_GET_SIZE(tuple) != 3) {
    PyErr_SetString(PyExc_TypeError, "a dtype tuple is (code, bits, lanes)");
    return std::nullopt;
  }
  const auto code = small_int(PyTuple_GET_ITEM(tuple, 0), 255);
  const auto bits = code ? small_int(PyTuple_GET_ITEM(tuple, 1), 255) : std::nullopt;
  const auto lanes = bits ? small_int(PyTuple_GET_ITEM(tuple, 2), 65535) : std::nullopt;
  if (!lanes) return std::nullopt;
  return dtype(static_cast<DLDataTypeCode>(*code), *bits, *lanes);
}

}  // namespace

PyTypeObject* dtype_type() noexcept { return dtype_type_; }
PyTypeObject* device_type() noexcept { return device_type_; }

bool initialize_dtype_types() noexcept {
  if (dtype_type_ != nullptr) return true;
  dtype_type_ = make_dtype_type();
  device_type_ = make_device_type();
  return dtype_type_ != nullptr && device_type_ != nullptr;
}

ref make_dtype(dtype t) noexcept {
  const dtype_id id = id_of(t);
  if (id == dtype_id::unknown) return allocate_dtype(t);
  PyObject*& kept = known_objects[static_cast<int>(id)];
  if (kept == nullptr) kept = allocate_dtype(t).release();
  return ref::borrow(kept);
}

ref make_device(device d) noexcept {
  ref made = ref::steal(device_type_->tp_alloc(device_type_, 0));
  if (made) reinterpret_cast<device_object*>(made.get())->value = d;
  return made;
}

std::optional<dtype> dtype_from_object(PyObject* object) noexcept {
  if (Py_TYPE(object) == dtype_type_) return value_of(object);
  if (PyUnicode_Check(object)) {
    const std::optional<std::string_view> name = utf8(object);
    if (!name) return std::nullopt;
    const std::optional<dtype> read = dtype::from_name(*name);
    return read ? read : unknown_dtype(object);
  }
  if (is_type_named(object, "torch.dtype")) return dtype_from_module_name(object);
  if (PyTuple_Check(object)) return dtype_from_tuple(object);
  if (object == reinterpret_cast<PyObject*>(&PyBool_Type)) return boolean;
  if (object == reinterpret_cast<PyObject*>(&PyLong_Type)) return int64;
  if (object == reinterpret_cast<PyObject*>(&PyFloat_Type)) return float64;
  if (object == reinterpret_cast<PyObject*>(&PyComplex_Type)) return complex128;
  if (numpy_is_loaded()) {
    if (const std::optional<dtype> read = dtype_from_numpy(object); read || PyErr_Occurred()) {
      return read;
    }
  }
  PyErr_Format(PyExc_TypeError, "expected a dtype (name, NumPy, torch or ml_dtypes), got %.200s",
               Py_TYPE(object)->tp_name);
  return std::nullopt;
}

std::optional<device> device_from_object(PyObject* object) noexcept {
  if (Py_TYPE(object) == device_type_) return place_of(object);
  if (PyUnicode_Check(object) || is_type_named(object, "torch.device")) {
    const ref printed = ref::steal(PyObject_Str(object));
    const std::optional<std::string_view> name = printed ? utf8(printed.get()) : std::nullopt;
    if (!name) return std::nullopt;
    const std::optional<device> read = device::from_name(*name);
    if (!read) PyErr_Format(PyExc_ValueError, "%R names no device", object);
    return read;
  }
  if (PyTuple_Check(object) && PyTuple_GET_SIZE(object) == 2) {
    constexpr int largest = std::numeric_limits<std::int32_t>::max();
    const auto type = small_int(PyTuple_GET_ITEM(object, 0), largest);
    const auto id = type ? small_int(PyTuple_GET_ITEM(object, 1), largest) : std::nullopt;
    if (!id) return std::nullopt;
    return device(static_cast<DLDeviceType>(*type), *id);
  }
  PyErr_Format(PyExc_TypeError,
               "expected a device (name, (type, id) or torch.device), got %.200s",
               Py_TYPE(object)->tp_name);
  return std::nullopt;
}

}  // namespace dlpack_bridge::python
