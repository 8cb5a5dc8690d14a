#include <dlpack_bridge/python/target.hpp>

#include <string>
#include <string_view>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/dlpack_targets.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/torch.hpp>

namespace dlpack_bridge::python {
namespace {

// Every way a framework is written in `to`: its name is the core's.
struct target_names {
  framework id;
  target_row& (*row)() noexcept;
  std::string_view package;  // of its array type
  // The array type's name there, and that of the type that objects have where it is another.
  std::string_view array_type, object_type;
};

constexpr target_names table[] = {
    {framework::array, array_target, "dlpack_bridge", "Array", {}},
    {framework::numpy, numpy_target, "numpy", "ndarray", {}},
    {framework::torch, torch_target, "torch", "Tensor", {}},
    {framework::jax, jax_target, "jax", "Array", "ArrayImpl"},
    {framework::cupy, cupy_target, "cupy", "ndarray", {}},
    {framework::tensorflow, tensorflow_target, "tensorflow", "Tensor", "EagerTensor"},
    {framework::tvm_ffi, tvm_ffi_target, "tvm_ffi", "Tensor", {}},
};

const target_names* find_framework(framework id) noexcept {
  for (const target_names& row : table) {
    if (row.id == id) return &row;
  }
  return nullptr;
}

// The characters of a str, as long as it lives; empty for what is none.
std::string_view text_of(PyObject* object) noexcept {
  Py_ssize_t size = 0;
  const char* text = object != nullptr && PyUnicode_Check(object)
                         ? PyUnicode_AsUTF8AndSize(object, &size)
                         : nullptr;
  if (text == nullptr) PyErr_Clear();
  return text == nullptr ? std::string_view()
                         : std::string_view(text, static_cast<std::size_t>(size));
}

// Which module of a package defines a type, and what else stands in its name ("jaxlib._jax.Array"), changes
// from release to release.
const target_names* find_type(PyObject* type) noexcept {
  const ref module = attribute_or_none(type, "__module__");
  const ref name = attribute_or_none(type, "__name__");
  const std::string_view package = text_of(module.get()).substr(0, text_of(module.get()).find('.'));
  const std::string_view last = text_of(name.get()).substr(text_of(name.get()).rfind('.') + 1);
  for (const target_names& row : table) {
    const bool jaxlib = row.id == framework::jax && package == "jaxlib";
    if (row.package != package && !jaxlib) continue;
    return last == row.array_type || last == row.object_type ? &row : nullptr;
  }
  return nullptr;
}

void raise_not_installed(const capabilities& row) {
  PyErr_Format(PyExc_ImportError, "%s is not installed: pip install %s",
               std::string(row.name).c_str(), std::string(row.package).c_str());
}

// The row, prepared. Found again then: which one is JAX's is known once JAX is imported.
target_row* prepared_row(const target_names& names) {
  target_row& row = names.row();
  if (row.ready) return &row;
  return prepare(row) ? prepared(names.row()) : nullptr;
}

target_row* find_name(std::string_view name) {
  const framework id = framework_of(name);
  if (const target_names* row = find_framework(id)) return prepared_row(*row);
  PyErr_Format(
      PyExc_ValueError,
      "unknown target \"%s\": pass \"numpy\", \"torch\", \"jax\", \"cupy\", \"tensorflow\", "
      "\"tvm_ffi\" or \"array\", or the module or the array type of one",
      std::string(name).c_str());
  return nullptr;
}

}  // namespace

bool prepare(target_row& row) {
  if (row.prepare(row)) return true;
  if (PyErr_ExceptionMatches(PyExc_ModuleNotFoundError)) raise_not_installed(row.holds);
  return false;
}

target_row* target_of(framework id) noexcept {
  const target_names* row = find_framework(id);
  return row == nullptr ? nullptr : &row->row();
}

target_row* target_of(PyObject* to) {
  if (PyUnicode_Check(to)) return find_name(text_of(to));
  if (PyModule_Check(to)) {
    const ref held = attribute_or_none(to, "__name__");
    const std::string_view name = text_of(held.get());
    return find_name(name == "jax.numpy" ? "jax" : name);
  }
  if (PyType_Check(to)) {
    if (const target_names* row = find_type(to)) return prepared_row(*row);
  }
  PyErr_Format(PyExc_TypeError, "to is a framework's name, its module or its array type, got %R",
               to);
  return nullptr;
}

}  // namespace dlpack_bridge::python
