#include <dlpack_bridge/python/tensorflow.hpp>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <optional>

#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/descriptor.hpp>
#include <dlpack_bridge/python/dlpack_call.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

// ---- TensorFlow's two functions --------------------------------------------------------------------

// A function of Python is known by the names that its code uses, in their order; the code itself differs
// from Python to Python.
bool uses_only(PyObject* function, std::initializer_list<const char*> names) noexcept {
  const ref code = attribute_or_none(function, "__code__");
  const ref used = code ? attribute_or_none(code.get(), "co_names") : ref();
  if (!used || !PyTuple_Check(used.get())) return false;
  if (PyTuple_GET_SIZE(used.get()) != static_cast<Py_ssize_t>(names.size())) return false;
  return std::ranges::all_of(names, [&, i = Py_ssize_t{0}](const char* name) mutable {
    PyObject* const item = PyTuple_GET_ITEM(used.get(), i++);
    return PyUnicode_Check(item) && PyUnicode_CompareWithASCIIString(item, name) == 0;
  });
}

// A function of the C library behind TensorFlow's Python; empty without an error.
ref library_function(const char* name) noexcept {
  PyObject* const module = loaded_module("tensorflow.python.pywrap_tfe");
  return module != nullptr ? attribute_or_none(module, name) : ref();
}

// TensorFlow's own tensors, looked at once: their type is never deleted. Null without an error before
// TensorFlow is imported.
struct own_tensors {
  PyTypeObject* type;
  PyObject* dlpack;  // the type's `__dlpack__`
  // What that calls after reading its keywords and asking where the tensor is.
  PyObject* make_capsule;
  no_argument_method element_type;
};

const own_tensors* find_own_tensors() noexcept {
  static own_tensors found{};
  if (found.make_capsule != nullptr) return &found;
  PyObject* const ops = loaded_module("tensorflow.python.framework.ops");
  PyObject* const functions = loaded_module("tensorflow.python.dlpack.dlpack");
  ref type = ops != nullptr ? attribute_or_none(ops, "EagerTensor") : ref();
  ref dlpack = type ? attribute_or_none(type.get(), "__dlpack__") : ref();
  ref make = functions != nullptr ? attribute_or_none(functions, "to_dlpack") : ref();
  if (!dlpack || !make || !PyType_Check(type.get())) return nullptr;
  if (uses_only(make.get(), {"pywrap_tfe", "TFE_ToDlpackCapsule"})) {
    if (ref within = library_function("TFE_ToDlpackCapsule")) make = std::move(within);
  }
  found.type = reinterpret_cast<PyTypeObject*>(type.release());
  found.dlpack = dlpack.release();
  found.element_type = no_argument_method(found.type, "_datatype_enum");
  found.make_capsule = make.release();
  return &found;
}

// The handle of TensorFlow's context, which its function gives the library; empty without an error before
// there is one.
ref context_handle() noexcept {
  static PyObject* const current = PyUnicode_InternFromString("_context");
  static PyObject* const initialized = PyUnicode_InternFromString("_initialized");
  static PyObject* const handle = PyUnicode_InternFromString("_context_handle");
  static PyObject* const module =
      ref::borrow(loaded_module("tensorflow.python.eager.context")).release();
  const ref context = module != nullptr ? ref::steal(PyObject_GetAttr(module, current)) : ref();
  const ref ready = context ? ref::steal(PyObject_GetAttr(context.get(), initialized)) : ref();
  ref found = ready.get() == Py_True ? ref::steal(PyObject_GetAttr(context.get(), handle)) : ref();
  PyErr_Clear();
  return found.get() != Py_None ? std::move(found) : ref();
}

// ---- the row ----------------------------------------------------------------------------------------

// The number of a tensor's element type in TensorFlow's own count; 0 when it does not tell.
long type_number(PyObject* x, const own_tensors* own) noexcept {
  ref number = own != nullptr && Py_TYPE(x) == own->type
                   ? own->element_type(x)
                   : ref::steal(PyObject_CallMethod(x, "_datatype_enum", nullptr));
  if (!number) {
    PyErr_Clear();
    const ref type = attribute_or_none(x, "dtype");
    if (type) number = attribute_or_none(type.get(), "as_datatype_enum");
  }
  return number && PyLong_Check(number.get()) ? PyLong_AsLong(number.get()) : 0;
}

// DT_STRING, DT_RESOURCE and DT_VARIANT of core/framework/types.proto.
constexpr long objects[] = {7, 20, 21};

// Refuses a tensor whose elements are objects of TensorFlow's runtime: its `__dlpack__` and `to_dlpack` end
// the process (TensorFlow 2.21, core/framework/tensor.cc). True when it did; what is known of the tensor is
// described then.
bool refuse_objects(inbound& in, const own_tensors* own, PyObject* dlpack_device) {
  const long number = type_number(in.object, own);
  const auto* const found = std::ranges::find(objects, number);
  if (found == std::end(objects)) return false;
  constexpr const char* names[] = {"string", "resource", "variant"};
  in.name_dtype(names[found - std::begin(objects)]);
  const std::optional<device> where =
      dlpack_device == nullptr ? std::nullopt : announced_device(dlpack_device, in.object);
  PyErr_Clear();
  describe_claims(in, std::nullopt, where, /*read_only=*/true);
  return true;
}

shortcut ask_tensorflow_first(inbound& in, PyObject* dlpack, PyObject* dlpack_device) {
  const own_tensors* const own = find_own_tensors();
  if (refuse_objects(in, own, dlpack_device)) return shortcut::described;
  if (own == nullptr || own->dlpack != dlpack) return shortcut::none;
  ref capsule = ref::steal(PyObject_CallOneArg(own->make_capsule, in.object));
  if (!capsule) {
    if (!is_answer_error()) return shortcut::failed;
    PyErr_Clear();  // asked again by the protocol, which reports it
    return shortcut::none;
  }
  const DLTensor* const tensor = peek_legacy(capsule.get());
  if (tensor == nullptr || tensor->device.device_type != kDLCPU) return shortcut::none;
  in.capsule = std::move(capsule);
  // A buffer of TensorFlow's, in C++ (tensorflow/c/eager/dlpack.cc).
  in.deletes_without_python = true;
  return shortcut::exported;
}

}  // namespace

constinit const producer_row tensorflow_producer{
    .id = framework::tensorflow,
    .ask_first = ask_tensorflow_first,
};

bool is_dtype_of_tensorflow(PyObject* object) noexcept {
  if (!is_type_named(object, "DType")) return false;
  const ref module = attribute_or_none(reinterpret_cast<PyObject*>(Py_TYPE(object)), "__module__");
  const auto name = module && PyUnicode_Check(module.get()) ? utf8(module.get()) : std::nullopt;
  if (!name) PyErr_Clear();
  return name && name->starts_with("tensorflow.");
}

PyObject* call_from_dlpack_of_tensorflow(PyObject* function, PyObject* capsule) noexcept {
  static PyObject* const within =
      uses_only(function,
                {"context", "ensure_initialized", "pywrap_tfe", "TFE_FromDlpackCapsule", "_handle"})
          ? library_function("TFE_FromDlpackCapsule").release()
          : nullptr;
  const ref handle = within != nullptr ? context_handle() : ref();
  if (!handle) return PyObject_CallOneArg(function, capsule);
  PyObject* const arguments[] = {capsule, handle.get()};
  return PyObject_Vectorcall(within, arguments, std::size(arguments), nullptr);
}

}  // namespace dlpack_bridge::python
