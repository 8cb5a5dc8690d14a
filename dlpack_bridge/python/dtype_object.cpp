#include <dlpack_bridge/python/dtype_object.hpp>

#include <string>

#include <structmember.h>

#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/tensorflow.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

struct dtype_object {
  PyObject_HEAD dtype value;
};

PyTypeObject* dtype_type_ = nullptr;
PyObject* known_objects[known_dtypes] = {};

// ---- dtype ---------------------------------------------------------------------------------

dtype value_of(PyObject* object) noexcept { return reinterpret_cast<dtype_object*>(object)->value; }

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
    if (!read && is_foreign_error()) Py_RETURN_NOTIMPLEMENTED;
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
      {Py_tp_doc,
       const_cast<char*>(
           "dtype(x, /)\n--\n\nAn element type, from a name or any framework's dtype.\n\n"
           "Equal to its name and to the dtypes of NumPy, torch, TensorFlow and ml_dtypes of the same "
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
  static PyType_Spec spec = {"dlpack_bridge.dtype", sizeof(dtype_object), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, slots};
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

// One of TensorFlow's, by its name.
std::optional<dtype> dtype_from_tensorflow(PyObject* object) noexcept {
  const ref name = attribute_or_none(object, "name");
  const auto words = name && PyUnicode_Check(name.get()) ? utf8(name.get()) : std::nullopt;
  const std::optional<dtype> read = words ? dtype::from_name(*words) : std::nullopt;
  if (!read) PyErr_Clear();
  return read ? read : unknown_dtype(object);
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

// A str, or one that says more: tvm-ffi's dtypes are strs in words of its own.
std::optional<dtype> dtype_from_text(PyObject* object) noexcept {
  const std::optional<std::string_view> name = utf8(object);
  if (!name) return std::nullopt;
  if (const std::optional<dtype> read = dtype::from_name(*name)) return read;
  const ref code = attribute_or_none(object, "type_code");
  const ref bits = attribute_or_none(object, "bits"), lanes = attribute_or_none(object, "lanes");
  if (!code || !bits || !lanes) return unknown_dtype(object);
  const ref all = ref::steal(PyTuple_Pack(3, code.get(), bits.get(), lanes.get()));
  return all ? dtype_from_tuple(all.get()) : std::nullopt;
}

}  // namespace

PyTypeObject* dtype_type() noexcept { return dtype_type_; }

bool initialize_dtype_type() noexcept {
  PyTypeObject*& shared = state().dtype_type;
  if (shared == nullptr) shared = make_dtype_type();
  dtype_type_ = shared;
  return shared != nullptr;
}

ref make_dtype(dtype t) noexcept {
  const dtype_id id = id_of(t);
  if (id == dtype_id::unknown) return allocate_dtype(t);
  PyObject*& kept = known_objects[static_cast<int>(id)];
  if (kept == nullptr) kept = allocate_dtype(t).release();
  return ref::borrow(kept);
}

std::optional<dtype> dtype_from_object(PyObject* object) noexcept {
  if (Py_TYPE(object) == dtype_type_) return value_of(object);
  if (PyUnicode_Check(object)) return dtype_from_text(object);
  if (is_type_named(object, "torch.dtype")) return dtype_from_module_name(object);
  if (is_dtype_of_tensorflow(object)) return dtype_from_tensorflow(object);
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
  PyErr_Format(PyExc_TypeError,
               "expected a dtype (name, NumPy, torch, TensorFlow or ml_dtypes), got %.200s",
               Py_TYPE(object)->tp_name);
  return std::nullopt;
}

}  // namespace dlpack_bridge::python
