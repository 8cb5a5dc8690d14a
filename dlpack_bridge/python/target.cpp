#include <dlpack_bridge/python/target.hpp>

#include <string>
#include <string_view>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/torch.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

// Every way a framework is written in `to`: its name is the core's.
struct target_names {
  framework id;
  target_row& (*row)() noexcept;
  std::string_view array_type;  // module-qualified name of its array type
};

constexpr target_names table[] = {
    {framework::array, array_target, "dlpack_bridge.Array"},
    {framework::numpy, numpy_target, "numpy.ndarray"},
    {framework::torch, torch_target, "torch.Tensor"},
};

const target_names* find_framework(framework id) noexcept {
  for (const target_names& row : table) {
    if (row.id == id) return &row;
  }
  return nullptr;
}

std::string text_of(PyObject* object) noexcept {
  const char* text =
      object != nullptr && PyUnicode_Check(object) ? PyUnicode_AsUTF8(object) : nullptr;
  if (text == nullptr) PyErr_Clear();
  return text == nullptr ? std::string() : std::string(text);
}

// "numpy.ndarray" for the type; torch's and NumPy's types know their public module.
std::string qualified_name(PyObject* type) noexcept {
  const ref module = attribute_or_none(type, "__module__");
  const ref name = attribute_or_none(type, "__name__");
  return text_of(module.get()) + "." + text_of(name.get());
}

const target_names* find_type(PyObject* type) noexcept {
  const std::string name = qualified_name(type);
  for (const target_names& row : table) {
    if (row.array_type == name) return &row;
  }
  return nullptr;
}

void raise_not_installed(const capabilities& row) {
  PyErr_Format(PyExc_ImportError, "%s is not installed: pip install %s",
               std::string(row.name).c_str(), std::string(row.package).c_str());
}

// A framework the hub knows by its capabilities only.
target_row* raise_without_road(framework id) {
  const capabilities& row = capabilities_of(id);
  const std::string name(row.name);
  if (!ref::steal(PyImport_ImportModule(name.c_str()))) {
    raise_not_installed(row);
  } else {
    PyErr_Format(PyExc_ValueError,
                 "dlpack_bridge %s has no road to %s; hand it dlpack_bridge.asarray(x), which "
                 "speaks __dlpack__",
                 DLPACK_BRIDGE_VERSION_STRING, name.c_str());
  }
  return nullptr;
}

target_row* find_name(const std::string& name) {
  const framework id = framework_of(name);
  if (const target_names* row = find_framework(id)) return prepared(row->row());
  if (id != framework::other && id != framework::cpp) return raise_without_road(id);
  PyErr_Format(PyExc_ValueError,
               "unknown target \"%s\": pass \"numpy\", \"torch\", \"array\", another framework's "
               "name, its module or its array type",
               name.c_str());
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
    const std::string name = text_of(attribute_or_none(to, "__name__").get());
    return find_name(name == "jax.numpy" ? "jax" : name);
  }
  if (PyType_Check(to)) {
    if (const target_names* row = find_type(to)) return prepared(row->row());
  }
  PyErr_Format(PyExc_TypeError, "to is a framework's name, its module or its array type, got %R",
               to);
  return nullptr;
}

}  // namespace dlpack_bridge::python
