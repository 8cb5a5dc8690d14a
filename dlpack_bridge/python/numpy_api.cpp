// NumPy's C API and the dtypes that NumPy and DLPack have in common.

#define DLPACK_BRIDGE_OWNS_NUMPY_API
#include <dlpack_bridge/python/numpy_api.hpp>

#include <algorithm>
#include <optional>
#include <vector>

#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

// The types that ml_dtypes registers with NumPy: number and element, filled when it is loaded.
struct registered_dtype {
  int type_num;
  dtype value;
};
std::vector<registered_dtype>& registered() noexcept {
  static auto* const all = new std::vector<registered_dtype>();
  return *all;
}

PyArray_Descr* descriptors[known_dtypes + 1] = {};  // by dtype_id, one reference each

// Registers what ml_dtypes offers; once, when it is first needed or seen.
void read_ml_dtypes(PyObject* module) noexcept {
  static bool done = false;
  if (done) return;
  done = true;
  for (int i = 0; i < known_dtypes; ++i) {
    const auto id = static_cast<dtype_id>(i);
    if (!from_ml_dtypes.contains(id)) continue;
    const ref type = attribute_or_none(module, dtype_of(id).name().c_str());
    PyArray_Descr* descr = nullptr;
    if (!type || PyArray_DescrConverter(type.get(), &descr) != NPY_SUCCEED) {
      PyErr_Clear();
      continue;
    }
    descriptors[i] = descr;
    registered().push_back({descr->type_num, dtype_of(id)});
  }
}

}  // namespace

bool load_numpy_api() noexcept {
  static bool loaded = false;
  if (loaded) return true;
  if (_import_array() < 0) {
    PyErr_Clear();
    return false;
  }
  loaded = true;
  return true;
}

bool has_ml_dtypes() noexcept {
  const error_guard guard;
  const ref util = ref::steal(PyImport_ImportModule("importlib.util"));
  const ref spec =
      util ? ref::steal(PyObject_CallMethod(util.get(), "find_spec", "s", "ml_dtypes")) : ref();
  PyErr_Clear();
  return spec && spec.get() != Py_None;
}

dtype registered_dtype_of(int type_num) noexcept {
  if (PyObject* module = loaded_module("ml_dtypes")) read_ml_dtypes(module);
  for (const registered_dtype& r : registered()) {
    if (r.type_num == type_num) return r.value;
  }
  dtype none;
  none.lanes = 0;
  return none;
}

// Finds a descriptor that nobody has asked for before.
[[gnu::cold]] PyArray_Descr* find_descriptor(dtype t, dtype_id id) noexcept {
  PyArray_Descr*& descr = descriptors[static_cast<int>(id)];
  if (from_ml_dtypes.contains(id)) {
    const ref module = ref::steal(PyImport_ImportModule("ml_dtypes"));
    if (module) read_ml_dtypes(module.get());
    return descr;
  }
  const auto found = std::ranges::find(numbered_dtypes, t);
  if (found != numbered_dtypes.end()) {
    descr = PyArray_DescrFromType(static_cast<int>(found - numbered_dtypes.begin()));
  }
  return descr;
}

[[gnu::hot]] PyArray_Descr* descriptor_of(dtype t) noexcept {
  const dtype_id id = id_of(t);
  PyArray_Descr* const descr = descriptors[static_cast<int>(id)];
  if (descr != nullptr || id == dtype_id::unknown) [[likely]]
    return descr;
  return find_descriptor(t, id);
}

std::string dtype_words(PyArray_Descr* descr) {
  std::string name = words(reinterpret_cast<PyObject*>(descr));
  if (PyDataType_HASFIELDS(descr)) name.insert(0, "structured ");
  return name;
}

std::optional<dtype> dtype_from_numpy(PyObject* object) noexcept {
  ref held;
  // Arrays and scalars have a `dtype` too, and are none.
  if (!PyArray_DescrCheck(object) && !PyType_Check(object)) return std::nullopt;
  if (PyType_Check(object) &&
      !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(object), &PyGenericArrType_Type)) {
    held = attribute_or_none(object, "dtype");
    if (!held || !PyArray_DescrCheck(held.get())) return std::nullopt;
    object = held.get();
  }
  PyArray_Descr* descr = nullptr;
  if (PyArray_DescrConverter(object, &descr) != NPY_SUCCEED) {
    PyErr_Clear();
    return std::nullopt;
  }
  held = ref::steal(reinterpret_cast<PyObject*>(descr));
  const dtype read = dtype_of_number(descr->type_num);
  if (read.lanes == 0) {
    PyErr_Format(PyExc_ValueError, "NumPy dtype %S has no DLPack element type", held.get());
    return std::nullopt;
  }
  if (is_swapped(descr)) {
    PyErr_Format(PyExc_ValueError,
                 "NumPy dtype %S is in the other byte order, which no result can have; pass "
                 "dtype.newbyteorder(\"=\")",
                 held.get());
    return std::nullopt;
  }
  return read;
}

}  // namespace dlpack_bridge::python
