// What the hub knows of torch, and what it asks a tensor that cannot be exported.

#include <dlpack_bridge/python/torch_library.hpp>

#include <string>
#include <string_view>

#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {

torch_library loaded_torch;

namespace {

using why = reason_code;

torch_library& lib = loaded_torch;

PyObject* attribute(PyObject* object, const char* name) noexcept {
  return attribute_or_none(object, name).release();  // kept for ever
}

// For naming only: an error counts as no and is cleared.
bool is_true(ref answer) noexcept {
  if (!answer) PyErr_Clear();
  return answer.get() == Py_True;
}

bool flag(PyObject* tensor, const char* name) noexcept {
  return is_true(attribute_or_none(tensor, name));
}

bool call_says(PyObject* function, PyObject* tensor) noexcept {
  return is_true(ref::steal(PyObject_CallOneArg(function, tensor)));
}

std::string_view last_word(const std::string& dotted) noexcept {
  return std::string_view(dotted).substr(dotted.rfind('.') + 1);
}

bool is_functional(PyObject* tensor) noexcept {
  static PyObject* const check = attribute(lib.module, "_is_functional_tensor");
  if (check != nullptr && call_says(check, tensor)) return true;
  const ref c_module = attribute_or_none(lib.module, "_C");
  const ref functorch = c_module ? attribute_or_none(c_module.get(), "_functorch") : ref();
  if (!functorch) return false;
  const ref wrapped = attribute_or_none(functorch.get(), "is_functorch_wrapped_tensor");
  return wrapped && call_says(wrapped.get(), tensor);
}

bool is_zero_tensor(PyObject* tensor) noexcept {
  static PyObject* const check = attribute(lib.module, "_is_zerotensor");
  return check != nullptr && call_says(check, tensor);
}

void name_state(inbound& in) {
  PyObject* tensor = in.object;
  if (flag(tensor, "is_nested")) in.desc.state.add(why::nested);
  if (flag(tensor, "is_quantized")) in.desc.state.add(why::quantized);
  if (flag(tensor, "is_meta")) in.desc.state.add(why::meta);
  if (is_functional(tensor)) in.desc.state.add(why::functional);
  const std::string layout = words(attribute_or_none(tensor, "layout").get());
  const bool plain_layout = layout == "torch.strided" || layout == "torch.jagged";
  if (flag(tensor, "is_sparse") || layout.starts_with("torch.sparse")) {
    in.refuse(why::sparse, layout);
  } else if (!plain_layout) {
    in.refuse(why::subclass, "layout " + layout + "; pass x.to_dense()");
  }
}

}  // namespace

bool load_torch(PyObject* module) noexcept {
  if (lib.tensor != nullptr) return true;
  const error_guard guard;
  PyObject* tensor = attribute(module, "Tensor");
  const ref c_module = attribute_or_none(module, "_C");
  if (tensor == nullptr || !PyType_Check(tensor) || !c_module) return false;
  lib.module = module;
  Py_INCREF(module);
  lib.disabled_dispatch = attribute(c_module.get(), "_disabled_torch_dispatch_impl");
  lib.count_modes = attribute(c_module.get(), "_len_torch_function_stack");
  lib.disable_function = attribute(c_module.get(), "DisableTorchFunction");
  const ref nn = attribute_or_none(module, "nn");
  PyObject* parameter = nn ? attribute(nn.get(), "Parameter") : nullptr;
  if (parameter != nullptr) lib.parameter = reinterpret_cast<PyTypeObject*>(parameter);
  lib.int8 = attribute(module, "int8");
  lib.uint8 = attribute(module, "uint8");
  auto* type = reinterpret_cast<PyTypeObject*>(tensor);
  lib.api = exchange_api_of(type);
  lib.requires_grad = getter(type, "requires_grad");
  lib.dtype = getter(type, "dtype");
  lib.is_neg = no_argument_method(type, "is_neg");
  lib.is_conj = no_argument_method(type, "is_conj");
  lib.tensor = type;
  lib.functions.load(c_module.get());
  return true;
}

without_torch_function::without_torch_function() noexcept {
  if (lib.disable_function == nullptr) return;
  const ref made = ref::steal(PyObject_CallNoArgs(lib.disable_function));
  const ref entered =
      made ? ref::steal(PyObject_CallMethod(made.get(), "__enter__", nullptr)) : ref();
  if (entered) context_ = ref::borrow(made.get());
  else PyErr_Clear();
}

without_torch_function::~without_torch_function() {
  if (!context_) return;
  const error_guard guard;
  const ref left =
      ref::steal(PyObject_CallMethod(context_.get(), "__exit__", "OOO", Py_None, Py_None, Py_None));
  PyErr_Clear();
}

// A mode that answers NotImplemented sends torch 2.13 into endless recursion over a Parameter, which
// ends the process (seen with Python 3.13); over a plain tensor it is a RecursionError.
bool is_plain_parameter(PyTypeObject* type) noexcept {
  if (type != lib.parameter || lib.count_modes == nullptr) return false;
  const ref modes = ref::steal(PyObject_CallNoArgs(lib.count_modes));
  if (!modes) PyErr_Clear();
  return modes && PyObject_Not(modes.get()) == 1;
}

bool grad_mode() noexcept {
  static PyObject* const is_enabled = attribute(lib.module, "is_grad_enabled");
  return is_true(ref::steal(PyObject_CallNoArgs(is_enabled)));
}

void describe_surface(inbound& in) {
  const std::string type_name = words(attribute_or_none(in.object, "dtype").get());
  const std::optional<dtype> type = dtype::from_name(last_word(type_name));
  const std::optional<device> place =
      device::from_name(words(attribute_or_none(in.object, "device").get()));
  describe_claims(in, type, place, /*read_only=*/false);
  if (!type) in.name_dtype(type_name);
}

bool describe_unexportable(inbound& in) {
  const ref error = take_error();
  const without_torch_function plain;
  describe_surface(in);
  name_state(in);
  const bool named = !in.desc.state.empty() && !(in.desc.state == reason_set(why::requires_grad));
  if (named || !in.desc.has_dtype) return true;
  if (is_zero_tensor(in.object)) {
    in.refuse(why::malformed, "a zero tensor has no storage; pass x.clone()");
    return true;
  }
  if (!error) {
    in.refuse(why::malformed, "data is NULL although the tensor has elements; give it storage");
    return true;
  }
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.get())), error.get());
  return in.refuse_producer_error();
}

}  // namespace dlpack_bridge::python
