#include <dlpack_bridge/python/torch.hpp>

#include <string>

#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/torch_library.hpp>
#include <dlpack_bridge/python/torch_stream.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

using why = reason_code;

// Found when the first tensor or the target was; every function below runs after that.
const torch_library& lib = torch_lib();

// ---- source ----------------------------------------------------------------------------------

// A check that fails must not pass for a no. False when the array is refused for it (`refused`), or
// when the error must pass through.
template <auto Function, class Method>
bool observe(inbound& in, const Method& method, why code, bool& refused) {
  switch (ask<Function>(method, in.object)) {
    case check_answer::no: return true;
    case check_answer::yes: in.desc.state.add(code); return true;
    case check_answer::failed: break;
  }
  refused = in.refuse_producer_error();
  return false;
}

// Autograd state is lost by every exchange; allowed when the caller says so or nobody records.
inline bool check_requires_grad(inbound& in, const requirements& wanted, bool& refused) {
  if (!observe<&torch_functions::requires_grad>(in, lib.requires_grad, why::requires_grad, refused))
    return false;
  // Whoever moves or converts a module, or trains it in parts, gives its parameters other memory:
  // `p.data = ...` in Module.half(), torch.utils.swap_tensors in Module.to(). What replaces t.numpy()
  // keeps the memory of any tensor, as that does.
  in.may_change_memory = Py_TYPE(in.object) != lib.tensor ||
                         in.desc.state.contains(why::requires_grad) ||
                         in.target.holds.id == framework::numpy;
  if (!wanted.detach && in.desc.state.contains(why::requires_grad) && !grad_mode()) {
    in.desc.state.remove(why::requires_grad);
  }
  return true;
}

// Lazy bits that DLPack does not know. Only complex tensors can have the conjugate bit.
bool check_lazy_bits(inbound& in, bool& refused) {
  if (!observe<&torch_functions::is_neg>(in, lib.is_neg, why::neg, refused)) return false;
  return in.desc.view.dtype().code != kDLComplex ||
         observe<&torch_functions::is_conj>(in, lib.is_conj, why::conj, refused);
}

// What torch itself calls the type of a tensor that it exports as int8 or uint8.
[[gnu::cold]] void name_narrow_integer(inbound& in, dtype type) {
  const without_torch_function plain;
  const ref real = lib.dtype(in.object);
  if (!real) PyErr_Clear();
  if (real.get() == lib.int8 || real.get() == lib.uint8) return;
  const std::string name = words(real.get());
  const std::size_t digit = name.find_last_of('t');
  const int bits = digit == std::string::npos ? 0 : std::atoi(name.c_str() + digit + 1);
  in.name_dtype(name + " (code=" + std::to_string(type.code) + ", bits=" + std::to_string(bits) +
                ", lanes=1)");
}

// torch exports its int1..int7 and uint1..uint7 as 8 bits: the width would be lost.
void check_narrow_integers(inbound& in) {
  const dtype type = in.desc.view.dtype();
  if (type.bits != 8 || (type != int8 && type != uint8)) return;
  if (lib.functions.proven() && lib.functions.is_whole_byte(in.object)) return;
  name_narrow_integer(in, type);
}

const DLTensor* export_by_table(inbound& in, DLTensor& borrowed) noexcept {
  // An export costs an allocation, and keeps the memory no better through Tensor.set_ (torch 2.13) than
  // the tensor object does.
  if (const auto look = lib.api->dltensor_from_py_object_no_sync) {
    return look(in.object, &borrowed) == 0 ? &borrowed : nullptr;
  }
  DLManagedTensorVersioned* exported = nullptr;
  if (lib.api->managed_tensor_from_py_object_no_sync(in.object, &exported) != 0) return nullptr;
  in.held = own_managed(exported);
  return &exported->dl_tensor;
}

// Before torch 2.10: torch._C._to_dlpack checks nothing, which is what the hub does itself.
[[gnu::cold]] const DLTensor* export_by_capsule(inbound& in, DLTensor&) noexcept {
  const ref c_module = attribute_or_none(lib.module, "_C");
  const ref to_dlpack = c_module ? attribute_or_none(c_module.get(), "_to_dlpack") : ref();
  if (!to_dlpack) return nullptr;
  in.capsule = ref::steal(PyObject_CallOneArg(to_dlpack.get(), in.object));
  return in.capsule ? peek_legacy(in.capsule.get()) : nullptr;
}

// Before an exchange of a tensor with torch itself that cannot be exported: whether it already is
// what was asked for is answered by torch.
[[gnu::cold]] void describe_form(inbound& in) noexcept {
  static PyObject* const contiguous = PyUnicode_InternFromString("is_contiguous");
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  const without_torch_function plain;
  const ref dense = ref::steal(PyObject_CallMethodNoArgs(in.object, contiguous));
  in.desc.says_contiguous = dense.get() == Py_True;
  PyErr_Clear();
  const ref address = ref::steal(PyObject_CallMethodNoArgs(in.object, data_ptr));
  PyErr_Clear();
  void* data = address && PyLong_Check(address.get()) ? PyLong_AsVoidPtr(address.get()) : nullptr;
  const tensor_view& v = in.desc.view;
  in.desc.view = tensor_view(data, v.shape().data(), nullptr, v.ndim(), v.dtype(), v.device());
}

// A stream that was given is still ordered after the tensor's, also when nothing is exchanged.
[[gnu::cold]] void describe_order_only(inbound& in) noexcept {
  DLTensor borrowed;
  const bool asked = lib.api != nullptr && in.entry->always.empty() &&
                     lib.api->dltensor_from_py_object_no_sync != nullptr;
  if (!asked || lib.api->dltensor_from_py_object_no_sync(in.object, &borrowed) != 0) {
    PyErr_Clear();
    return;
  }
  const device where = borrowed.device;
  if (!needs_cuda(where.type) || !cuda_status().answers()) return;
  in.desc.view = tensor_view(borrowed.data, nullptr, nullptr, 0, dtype(borrowed.dtype), where);
  in.desc.has_device = true;
  in.desc.streams.producer.handle = torch_work_stream(where);
}

[[gnu::hot]] bool describe_torch(inbound& in, const requirements& wanted) {
  const bool same = in.desc.same_framework && wanted.copy != copy_policy::always;
  bool refused = false;
  if (same && wanted.keeps_form()) {
    // The tensor itself is the answer: nothing is exported.
    in.desc.has_layout = in.desc.has_dtype = in.desc.has_device = false;
    if (wanted.stream.known() || wanted.refused_stream) describe_order_only(in);
    return !wanted.detach || check_requires_grad(in, wanted, refused) || refused;
  }
  const reason_set always = in.entry->always;  // before foreign code can run
  if (!check_requires_grad(in, wanted, refused)) return refused;
  DLTensor borrowed;
  const DLTensor* tensor = nullptr;
  if (always.empty()) {
    tensor = lib.api != nullptr ? export_by_table(in, borrowed) : export_by_capsule(in, borrowed);
  }
  if (tensor != nullptr) {
    in.desc.view = tensor_view(*tensor);
    describe_layout(in.desc);
    const bool missing = tensor->data == nullptr && !in.desc.layout.empty;
    if (!missing) {
      const device where = in.desc.view.device();
      if (needs_cuda(where.type) && cuda_status().answers()) {
        in.desc.streams.producer.handle = torch_work_stream(where);
      }
      if (!check_lazy_bits(in, refused)) return refused;
      check_narrow_integers(in);
      return true;
    }
    in.held.reset();
  }
  if (always.empty()) {
    if (!describe_unexportable(in)) return false;
  } else {
    describe_surface(in);
  }
  if (same) describe_form(in);
  return true;
}

[[gnu::cold]] owner hold_storage(PyObject* tensor) noexcept {
  const without_torch_function plain;
  const ref storage = ref::steal(PyObject_CallMethod(tensor, "untyped_storage", nullptr));
  if (!storage) PyErr_Clear();
  return own_object(storage ? storage.get() : tensor);
}

// An alias in libtorch has the tensor's memory of now, and so has its storage in Python.
owner hold_memory(PyObject* tensor) noexcept {
  if (lib.functions.proven()) [[likely]] {
    if (owner held = lib.functions.hold_memory(tensor)) [[likely]]
      return held;
  }
  return hold_storage(tensor);
}

// What was only looked at lives as long as the tensor object, unless that may change its memory.
[[gnu::hot]] owner take_export(inbound& in) {
  owner kept;
  if (in.may_change_memory) kept = hold_memory(in.object);
  else if (in.capsule) kept = consume_capsule(in.capsule.get());
  else kept = std::move(in.held);
  if (in.desc.view.device().type == kDLCUDA && in.desc.driver.answers()) {
    return keep_device_tensor(std::move(kept), in.object, in.desc.view.data(), in.listener);
  }
  return kept ? std::move(kept) : own_object(in.object);
}

bool renew_torch(PyObject*, const type_entry&, device where, stream_handle, stream_facts& streams) {
  streams.producer.handle = torch_work_stream(where);
  return true;
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
    PyErr_SetString(PyExc_ImportError,
                    "the installed torch has no torch.Tensor; reinstall it: pip install torch");
    return false;
  }
  complete_capabilities(row);
  row.ready = true;
  return true;
}

[[gnu::cold]] PyObject* import_by_capsule(managed_tensor made) noexcept {
  static PyObject* const from_dlpack = [] {
    const ref c_module = attribute_or_none(lib.module, "_C");
    return c_module ? attribute_or_none(c_module.get(), "_from_dlpack").release() : nullptr;
  }();
  const ref capsule = make_legacy_capsule(std::move(made));
  if (!capsule) return nullptr;
  return PyObject_CallOneArg(from_dlpack, capsule.get());
}

// The struct that torch's table takes. Where rows are dense torch is quicker without strides than with the
// same ones (by 8 % of the exchange): it does not compute from them how much memory there is.
DLManagedTensorVersioned* make_struct(handed_over& out) {
  const bool dense = out.view.strides() == nullptr;
  if (dense) return managed_tensor::wrap_strideless(out.view, std::move(out.keep), out.flags);
  return managed_tensor::wrap(out.view, std::move(out.keep), out.flags, /*in_turn=*/true).release();
}

[[gnu::hot]] PyObject* wrap_as_tensor(handed_over& out, PyObject*) {
  if (lib.api == nullptr) {
    return import_by_capsule(managed_tensor::wrap(out.view, std::move(out.keep), out.flags));
  }
  DLManagedTensorVersioned* const raw = make_struct(out);
  void* tensor = nullptr;
  if (lib.api->managed_tensor_to_py_object_no_sync(raw, &tensor) == 0) {
    return static_cast<PyObject*>(tensor);
  }
  // The header leaves open who owns it now; in practice it is still the caller (tvm-ffi does so).
  managed_tensor::adopt(raw).reset();
  return nullptr;
}

// A subclass keeps its type where its own detach works; otherwise no function of a subclass or a
// mode is asked.
PyObject* detached(PyObject* tensor) noexcept {
  const bool plain_type = Py_TYPE(tensor) == lib.tensor || Py_TYPE(tensor) == lib.parameter;
  if (!plain_type) {
    PyObject* alias = PyObject_CallMethod(tensor, "detach", nullptr);
    if (alias != nullptr || !PyErr_ExceptionMatches(PyExc_Exception)) return alias;
    PyErr_Clear();
  }
  const without_torch_function plain;
  return PyObject_CallMethod(tensor, "detach", nullptr);
}

PyObject* same_tensor(inbound& in, const requirements& wanted) {
  if (wanted.detach && in.desc.state.contains(why::requires_grad)) return detached(in.object);
  Py_INCREF(in.object);
  return in.object;
}

// torch.nn.UninitializedParameter and UninitializedBuffer: their data is an empty tensor until they are
// materialized, and torch lets nobody look at it.
bool is_uninitialized(PyTypeObject* type) noexcept {
  PyObject* const module = loaded_module("torch.nn.parameter");
  const ref mixin =
      module != nullptr ? attribute_or_none(module, "UninitializedTensorMixin") : ref();
  return mixin && PyType_Check(mixin.get()) &&
         PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(mixin.get()));
}

// A type that intercepts dispatch has no plain storage. Only FakeTensor and FunctionalTensor have
// codes of their own.
void judge_type(type_entry& e) noexcept {
  static PyObject* const dispatch = PyUnicode_InternFromString("__torch_dispatch__");
  const ref found = ref::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(e.type), dispatch));
  if (!found) PyErr_Clear();
  if (is_uninitialized(e.type)) {
    e.always = reason_set(why::subclass);
    e.note = "it has no elements yet; run its module once, or call x.materialize(shape)";
    return;
  }
  if (!found || found.get() == lib.disabled_dispatch) return;
  const std::string_view name(e.type->tp_name);
  const std::string_view plain = name.substr(name.rfind('.') + 1);
  if (plain == "FakeTensor") {
    e.always = reason_set(why::fake);
  } else if (plain == "FunctionalTensor") {
    e.always = reason_set(why::functional);
  } else {
    e.always = reason_set(why::subclass);
    e.note = "with __torch_dispatch__ it has no plain storage; pass its plain data";
  }
}

}  // namespace

const source_row torch_source{.protocol = "dlpack_c_exchange_api",
                              .id = framework::torch,
                              .describe = describe_torch,
                              .take = take_export,
                              .renew = renew_torch,
                              .keep = keep_itself};

bool look_at_torch_type(type_entry& e) noexcept {
  PyObject* module = loaded_module("torch");
  if (module == nullptr || !load_torch(module)) return false;
  if (!PyType_IsSubtype(e.type, lib.tensor)) return false;
  e.row = &torch_source;
  e.origin = framework::torch;
  judge_type(e);
  return true;
}

[[gnu::hot]] target_row& torch_target() noexcept {
  static target_row row{capabilities_of(framework::torch), prepare_torch, wrap_as_tensor,
                        same_tensor, torch_work_stream};
  return row;
}

}  // namespace dlpack_bridge::python
