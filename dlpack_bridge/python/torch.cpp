#include <dlpack_bridge/python/torch.hpp>

#include <string>

#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/descriptor.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/release.hpp>

namespace dlpack_bridge::python {
namespace {

using why = reason_code;

// What is looked up once when torch is first seen. Torch is never unloaded.
struct torch_library {
  PyObject* module = nullptr;
  PyTypeObject* tensor = nullptr;
  PyObject* disabled_dispatch = nullptr;  // what a plain type has as __torch_dispatch__
  PyObject* int8 = nullptr;
  PyObject* uint8 = nullptr;
  const DLPackExchangeAPI* api = nullptr;  // null before torch 2.10
  getter requires_grad;
  getter dtype;
  no_argument_method is_neg;
  no_argument_method is_conj;
};
torch_library lib;

PyObject* attribute(PyObject* object, const char* name) noexcept {
  return attribute_or_none(object, name).release();  // kept for ever
}

bool load_torch(PyObject* module) noexcept {
  if (lib.tensor != nullptr) return true;
  const error_guard guard;
  PyObject* tensor = attribute(module, "Tensor");
  const ref c_module = attribute_or_none(module, "_C");
  if (tensor == nullptr || !PyType_Check(tensor) || !c_module) return false;
  lib.module = module;
  Py_INCREF(module);
  lib.disabled_dispatch = attribute(c_module.get(), "_disabled_torch_dispatch_impl");
  lib.int8 = attribute(module, "int8");
  lib.uint8 = attribute(module, "uint8");
  auto* type = reinterpret_cast<PyTypeObject*>(tensor);
  lib.api = exchange_api_of(type);
  lib.requires_grad = getter(type, "requires_grad");
  lib.dtype = getter(type, "dtype");
  lib.is_neg = no_argument_method(type, "is_neg");
  lib.is_conj = no_argument_method(type, "is_conj");
  lib.tensor = type;
  return true;
}

// The answer of a check; an error counts as no and is cleared.
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

bool grad_mode() noexcept {
  static PyObject* const is_enabled = attribute(lib.module, "is_grad_enabled");
  return is_true(ref::steal(PyObject_CallNoArgs(is_enabled)));
}

std::string words(PyObject* object) noexcept {
  const ref text = ref::steal(object == nullptr ? nullptr : PyObject_Str(object));
  const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (utf8 == nullptr) PyErr_Clear();
  return utf8 == nullptr ? "unknown" : utf8;
}

std::string_view last_word(const std::string& dotted) noexcept {
  return std::string_view(dotted).substr(dotted.rfind('.') + 1);
}

// ---- a tensor that cannot be exported: ask it what it is ------------------------------------

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
    in.refuse(why::subclass, "layout " + layout);
  }
}

// Shape, dtype and device for the message, without reading a pointer.
void describe_surface(inbound& in) {
  const std::string type_name = words(attribute_or_none(in.object, "dtype").get());
  const std::optional<dtype> type = dtype::from_name(last_word(type_name));
  const std::optional<device> place =
      device::from_name(words(attribute_or_none(in.object, "device").get()));
  const ref shape = attribute_or_none(in.object, "shape");
  std::int32_t ndim = 0;
  const bool has_shape = shape && PyTuple_Check(shape.get()) && PyTuple_GET_SIZE(shape.get()) <= 64;
  for (; has_shape && ndim < PyTuple_GET_SIZE(shape.get()); ++ndim) {
    in.room[ndim] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.get(), ndim));
  }
  PyErr_Clear();
  in.desc.has_layout = false;
  in.desc.has_dtype = type.has_value();
  in.desc.has_device = place.has_value();
  in.desc.view = tensor_view(nullptr, has_shape ? in.room : nullptr, nullptr, ndim,
                             type.value_or(dtype()), place.value_or(device()));
  if (!type) in.name_dtype(type_name);
}

bool describe_unexportable(inbound& in) {
  const ref error = take_error();
  describe_surface(in);
  name_state(in);
  if (!in.desc.state.empty() && !(in.desc.state == reason_set(why::requires_grad))) return true;
  if (is_zero_tensor(in.object)) {
    in.refuse(why::malformed, "a zero tensor has no storage; pass x.clone()");
    return true;
  }
  if (!error) {
    in.refuse(why::malformed, "data is NULL although the tensor has elements");
    return true;
  }
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.get())), error.get());
  return in.refuse_producer_error();
}

// ---- source ----------------------------------------------------------------------------------

// Autograd state is lost by every exchange; allowed when the caller says so or nobody records.
void check_requires_grad(inbound& in, const requirements& wanted) noexcept {
  if (!is_true(lib.requires_grad(in.object))) return;
  if (wanted.detach || grad_mode()) in.desc.state.add(why::requires_grad);
}

// Lazy bits that DLPack does not know. Only complex tensors can have the conjugate bit.
void check_lazy_bits(inbound& in) noexcept {
  if (is_true(lib.is_neg(in.object))) in.desc.state.add(why::neg);
  if (in.desc.view.dtype().code == kDLComplex && is_true(lib.is_conj(in.object))) {
    in.desc.state.add(why::conj);
  }
}

// torch exports its int1..int7 and uint1..uint7 as 8 bits: the width would be lost.
void check_narrow_integers(inbound& in) {
  const dtype type = in.desc.view.dtype();
  if (type != int8 && type != uint8) return;
  const ref real = lib.dtype(in.object);
  if (real.get() == lib.int8 || real.get() == lib.uint8) return;
  const std::string name = words(real.get());
  const std::size_t digit = name.find_last_of('t');
  const int bits = digit == std::string::npos ? 0 : std::atoi(name.c_str() + digit + 1);
  in.name_dtype(name + " (code=" + std::to_string(type.code) + ", bits=" + std::to_string(bits) +
                ", lanes=1)");
}

const DLTensor* export_by_table(inbound& in, DLTensor& borrowed) noexcept {
  if (in.mode == look::borrow && lib.api->dltensor_from_py_object_no_sync != nullptr) {
    return lib.api->dltensor_from_py_object_no_sync(in.object, &borrowed) == 0 ? &borrowed : nullptr;
  }
  DLManagedTensorVersioned* exported = nullptr;
  if (lib.api->managed_tensor_from_py_object_no_sync(in.object, &exported) != 0) return nullptr;
  in.held = own_managed(exported);
  return &exported->dl_tensor;
}

// Before torch 2.10: torch._C._to_dlpack checks nothing, which is what the hub does itself.
const DLTensor* export_by_capsule(inbound& in, DLTensor&) noexcept {
  const ref c_module = attribute_or_none(lib.module, "_C");
  const ref to_dlpack = c_module ? attribute_or_none(c_module.get(), "_to_dlpack") : ref();
  if (!to_dlpack) return nullptr;
  in.capsule = ref::steal(PyObject_CallOneArg(to_dlpack.get(), in.object));
  return in.capsule ? peek_legacy(in.capsule.get()) : nullptr;
}

bool describe_torch(inbound& in, const requirements& wanted) {
  if (in.desc.same_framework && wanted.keeps_form() && wanted.copy != copy_policy::always) {
    // The tensor itself is the answer: nothing is exported.
    in.desc.has_layout = in.desc.has_dtype = in.desc.has_device = false;
    if (wanted.detach) check_requires_grad(in, wanted);
    return true;
  }
  check_requires_grad(in, wanted);
  if (!in.entry->always.empty()) {
    describe_surface(in);
    return true;
  }
  DLTensor borrowed;
  const DLTensor* tensor =
      lib.api != nullptr ? export_by_table(in, borrowed) : export_by_capsule(in, borrowed);
  if (tensor == nullptr) return describe_unexportable(in);
  in.desc.view = tensor_view(*tensor);
  describe_layout(in.desc);
  if (tensor->data == nullptr && in.desc.layout.size != 0) {
    in.held.reset();
    return describe_unexportable(in);
  }
  check_lazy_bits(in);
  check_narrow_integers(in);
  return true;
}

owner take_export(inbound& in) {
  return lib.api != nullptr ? std::move(in.held) : consume_capsule(in.capsule.get());
}

// ---- target ----------------------------------------------------------------------------------

// What this build of torch has: names of dtypes came one by one, CUDA is a matter of the build.
void complete_capabilities(target_row& row) noexcept {
  const error_guard guard;
  for (int i = 0; i < known_dtypes; ++i) {
    const auto id = static_cast<dtype_id>(i);
    if (row.holds.dtypes.contains(id) &&
        !attribute_or_none(lib.module, dtype_of(id).name().c_str())) {
      row.holds.dtypes = row.holds.dtypes.without(dtype_set(id));
    }
  }
  const ref version = attribute_or_none(lib.module, "version");
  const ref cuda = version ? attribute_or_none(version.get(), "cuda") : ref();
  if (cuda && cuda.get() != Py_None) row.holds.devices.add(kDLCUDA);
}

bool prepare_torch(target_row& row) {
  const ref module = ref::steal(PyImport_ImportModule("torch"));
  if (!module) return false;
  if (!load_torch(module.get())) {
    PyErr_SetString(PyExc_ImportError, "the installed torch has no torch.Tensor; reinstall it: pip install torch");
    return false;
  }
  complete_capabilities(row);
  row.ready = true;
  return true;
}

PyObject* import_by_capsule(managed_tensor made) noexcept {
  static PyObject* const from_dlpack = [] {
    const ref c_module = attribute_or_none(lib.module, "_C");
    return c_module ? attribute(c_module.get(), "_from_dlpack") : nullptr;
  }();
  const ref capsule = make_legacy_capsule(std::move(made));
  if (!capsule) return nullptr;
  return PyObject_CallOneArg(from_dlpack, capsule.get());
}

PyObject* wrap_as_tensor(const tensor_view& view, owner keep, std::uint64_t flags, framework) {
  managed_tensor made = managed_tensor::wrap(view, std::move(keep), flags);
  if (lib.api == nullptr) return import_by_capsule(std::move(made));
  DLManagedTensorVersioned* raw = std::move(made).release();
  void* tensor = nullptr;
  if (lib.api->managed_tensor_to_py_object_no_sync(raw, &tensor) == 0) {
    return static_cast<PyObject*>(tensor);
  }
  // The header leaves open who owns it now; in practice it is still the caller (tvm-ffi does so).
  managed_tensor::adopt(raw).reset();
  return nullptr;
}

PyObject* same_tensor(inbound& in, const requirements& wanted) {
  if (wanted.detach && in.desc.state.contains(why::requires_grad)) {
    return PyObject_CallMethod(in.object, "detach", nullptr);
  }
  Py_INCREF(in.object);
  return in.object;
}

// A type that intercepts dispatch has no plain storage. Only FakeTensor and FunctionalTensor have
// codes of their own.
void judge_type(type_entry& e) noexcept {
  static PyObject* const dispatch = PyUnicode_InternFromString("__torch_dispatch__");
  const ref found = ref::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(e.type), dispatch));
  if (!found) PyErr_Clear();
  if (!found || found.get() == lib.disabled_dispatch) return;
  const std::string_view name(e.type->tp_name);
  const std::string_view plain = name.substr(name.rfind('.') + 1);
  if (plain == "FakeTensor") {
    e.always = reason_set(why::fake);
  } else if (plain == "FunctionalTensor") {
    e.always = reason_set(why::functional);
  } else {
    e.always = reason_set(why::subclass);
    e.note = "a tensor subclass with __torch_dispatch__ has no plain storage";
  }
}

}  // namespace

const source_row torch_source{"dlpack_c_exchange_api", framework::torch, describe_torch,
                              take_export};

bool look_at_torch_type(type_entry& e) noexcept {
  PyObject* module = loaded_module("torch");
  if (module == nullptr || !load_torch(module)) return false;
  if (!PyType_IsSubtype(e.type, lib.tensor)) return false;
  e.row = &torch_source;
  e.origin = framework::torch;
  judge_type(e);
  return true;
}

target_row& torch_target() noexcept {
  static target_row row{capabilities_of(framework::torch), prepare_torch, wrap_as_tensor,
                        same_tensor};
  return row;
}

}  // namespace dlpack_bridge::python
