#include <dlpack_bridge/python/device_object.hpp>

#include <limits>

#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

struct device_object {
  PyObject_HEAD device value;
};

PyTypeObject* device_type_ = nullptr;

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
  if (!read && is_foreign_error()) Py_RETURN_NOTIMPLEMENTED;
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
      {Py_tp_doc,
       const_cast<char*>(
           "device(x, /)\n--\n\nWhere an array lives, from a name, a DLPack tuple or a torch.device.\n\n"
           "Equal to its name (\"cuda:0\") and to its DLPack tuple (2, 0); hashes as its name.\n\n"
           "Errors: TypeError for what is no device, ValueError for a name that is none.")},
      {Py_tp_new, reinterpret_cast<void*>(device_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(plain_dealloc)},
      {Py_tp_str, reinterpret_cast<void*>(device_str)},
      {Py_tp_repr, reinterpret_cast<void*>(device_repr)},
      {Py_tp_hash, reinterpret_cast<void*>(device_hash)},
      {Py_tp_richcompare, reinterpret_cast<void*>(device_compare)},
      {Py_tp_getset, attributes},
      {Py_tp_methods, methods},
      {0, nullptr}};
  static PyType_Spec spec = {"dlpack_bridge.device", sizeof(device_object), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

}  // namespace

PyTypeObject* device_type() noexcept { return device_type_; }

bool initialize_device_type() noexcept {
  PyTypeObject*& shared = state().device_type;
  if (shared == nullptr) shared = make_device_type();
  device_type_ = shared;
  return shared != nullptr;
}

ref make_device(device d) noexcept {
  ref made = ref::steal(device_type_->tp_alloc(device_type_, 0));
  if (made) reinterpret_cast<device_object*>(made.get())->value = d;
  return made;
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
  PyErr_Format(PyExc_TypeError, "expected a device (name, (type, id) or torch.device), got %.200s",
               Py_TYPE(object)->tp_name);
  return std::nullopt;
}

std::optional<device> device_to_use(PyObject* object) noexcept {
  const std::optional<device> read = device_from_object(object);
  return read && read->type == kDLCPU ? device() : read;
}

}  // namespace dlpack_bridge::python
