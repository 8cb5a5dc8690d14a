#include <cstdint>
#include <cstring>
#include <string_view>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/torch.hpp>

namespace dlpack_bridge::python {
namespace {

type_entry uncached;  // types without a tag

PyObject* interned(const char* name) noexcept { return PyUnicode_InternFromString(name); }

// "jaxlib" for a type of jaxlib._jax; empty when unknown.
std::string_view top_package(PyTypeObject* type) noexcept {
  static PyObject* const module_name = interned("__module__");
  PyObject* module = nullptr;
  if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) module = type_attribute(type, module_name);
  const char* text =
      module != nullptr && PyUnicode_Check(module) ? PyUnicode_AsUTF8(module) : type->tp_name;
  if (text == nullptr) {
    PyErr_Clear();
    return {};
  }
  const std::string_view name(text);
  return name.substr(0, name.find('.'));
}

constexpr producer_row cupy_producer{framework::cupy};
constexpr producer_row tvm_ffi_producer{framework::tvm_ffi};

const producer_row* producer_of(std::string_view package) noexcept {
  if (package == "jaxlib" || package == "jax") return &jax_producer;
  if (package == "tensorflow") return &tensorflow_producer;
  if (package == "cupy") return &cupy_producer;
  if (package == "tvm_ffi") return &tvm_ffi_producer;
  return &any_producer;
}

// The protocols in the order of how much they tell.
void look_at_protocols(type_entry& e) noexcept {
  static PyObject* const dlpack = interned("__dlpack__");
  static PyObject* const dlpack_device = interned("__dlpack_device__");
  static PyObject* const cuda_interface = interned("__cuda_array_interface__");
  static PyObject* const interface = interned("__array_interface__");
  e.producer = producer_of(top_package(e.type));
  e.origin = e.producer->id;
  e.api = exchange_api_of(e.type);
  e.dlpack = type_attribute(e.type, dlpack);
  e.dlpack_device = type_attribute(e.type, dlpack_device);
  const auto has = [&e](PyObject* name) {
    PyObject* const found = type_attribute(e.type, name);
    return found != nullptr && found != Py_None;
  };
  if (e.dlpack == Py_None) e.dlpack = nullptr;
  if (e.dlpack_device == Py_None) e.dlpack_device = nullptr;
  const PyBufferProcs* buffer = e.type->tp_as_buffer;
  if (e.api != nullptr) e.row = &exchange_api_source;
  else if (e.dlpack != nullptr) e.row = &dlpack_source;
  else if (e.type == &PyCapsule_Type) e.row = &capsule_source;
  else if (buffer != nullptr && buffer->bf_getbuffer != nullptr) e.row = &buffer_source;
  else if (has(cuda_interface)) e.row = &cuda_array_interface_source;
  else if (has(interface)) e.row = &array_interface_source;
}

type_entry look_at(PyTypeObject* type) noexcept {
  type_entry e;
  e.type = type;
  if (type == array_type()) {
    e.row = &array_source;
    e.origin = framework::array;
  } else if (!look_at_numpy_type(e) && !look_at_torch_type(e)) {
    look_at_protocols(e);
  }
  return e;
}

unsigned int version_tag_of(PyTypeObject* type) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  if (type->tp_version_tag == 0) PyUnstable_Type_AssignVersionTag(type);
#else
  // A look-up along the bases makes CPython assign the tag.
  if (!(type->tp_flags & Py_TPFLAGS_VALID_VERSION_TAG)) {
    static PyObject* const any = interned("__dlpack__");
    _PyType_Lookup(type, any);
  }
  if (!(type->tp_flags & Py_TPFLAGS_VALID_VERSION_TAG)) return 0;
#endif
  return type->tp_version_tag;
}

}  // namespace

type_entry type_cache[type_cache_size];

const type_entry* look_again(PyTypeObject* type) noexcept {
  const unsigned int tag = version_tag_of(type);
  type_entry& place = tag == 0 ? uncached : type_cache[type_cache_slot(type)];
  place = look_at(type);
  place.version_tag = tag;
  if (place.row == nullptr || PyErr_Occurred()) return nullptr;
  return &place;
}

}  // namespace dlpack_bridge::python
