#include <dlpack_bridge/python/dlpack_targets.hpp>

#include <initializer_list>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/jax.hpp>
#include <dlpack_bridge/python/tensorflow.hpp>

namespace dlpack_bridge::python {
namespace {

// A framework's own function, found when its row is prepared.
template <framework Id>
PyObject* from_dlpack = nullptr;

// `module.a.b` for {"a", "b"}. Empty with an error set.
ref find_in(const char* module, std::initializer_list<const char*> path) noexcept {
  ref found = ref::steal(PyImport_ImportModule(module));
  for (const char* name : path) {
    if (found) found = ref::steal(PyObject_GetAttrString(found.get(), name));
  }
  return found;
}

// Finds the function. False with ImportError set.
template <framework Id>
bool find_function(const char* module, std::initializer_list<const char*> path) noexcept {
  if (from_dlpack<Id> != nullptr) return true;
  from_dlpack<Id> = find_in(module, path).release();
  if (from_dlpack<Id> == nullptr && PyErr_ExceptionMatches(PyExc_AttributeError)) {
    PyErr_Format(PyExc_ImportError, "the installed %s has no from_dlpack; upgrade it", module);
  }
  return from_dlpack<Id> != nullptr;
}

// ---- handing over ------------------------------------------------------------------------------

// To who asks an object for its stream: an Array, which orders its export and then dies.
template <framework Id>
PyObject* wrap_by_object(handed_over& out, PyObject*) {
  const ref array = make_transit_array(out);
  return array ? PyObject_CallOneArg(from_dlpack<Id>, array.get()) : nullptr;
}

// To who takes a capsule and asks for no stream.
template <framework Id, ref (*make_capsule)(managed_tensor&&) noexcept,
          PyObject* (*call)(PyObject* function, PyObject* capsule) = PyObject_CallOneArg>
PyObject* wrap_by_capsule(handed_over& out, PyObject*) {
  const ref capsule = make_capsule(
      managed_tensor::wrap(out.view, std::move(out.keep), out.flags, /*in_turn=*/true));
  return capsule ? call(from_dlpack<Id>, capsule.get()) : nullptr;
}

// ---- the rows ------------------------------------------------------------------------------------

// Whether a question to a framework is answered with something true; an exception is a no. False with an
// error set for one that must pass through.
bool says_yes(const ref& question, const char* argument) noexcept {
  const ref answer =
      question ? ref::steal(PyObject_CallFunction(question.get(), "s", argument)) : ref();
  const bool yes = answer && PyObject_IsTrue(answer.get()) == 1;
  if (PyErr_Occurred() && is_answer_error()) PyErr_Clear();
  return yes;
}

bool prepare_jax(target_row& row) {
  if (!find_function<framework::jax>("jax.dlpack", {"from_dlpack"})) return false;
  if (says_yes(find_in("jax", {"devices"}), "cuda")) row.holds.devices.add(kDLCUDA);
  return row.ready = !PyErr_Occurred();
}

bool prepare_cupy(target_row& row) {
  return row.ready = find_function<framework::cupy>("cupy", {"from_dlpack"});
}

bool prepare_tensorflow(target_row& row) {
  if (!find_function<framework::tensorflow>("tensorflow",
                                            {"experimental", "dlpack", "from_dlpack"})) {
    return false;
  }
  if (!says_yes(find_in("tensorflow", {"config", "list_physical_devices"}), "GPU")) {
    row.holds.devices = {kDLCPU};
  }
  return row.ready = !PyErr_Occurred();
}

bool prepare_tvm_ffi(target_row& row) {
  return row.ready = find_function<framework::tvm_ffi>("tvm_ffi", {"from_dlpack"});
}

target_row make_jax_row(bool x64) noexcept {
  target_row row{capabilities_of(framework::jax), prepare_jax, wrap_by_object<framework::jax>,
                 same_object};
  // Without x64 JAX would narrow these, silently.
  const dtype_set wide(dtype_id::int64, dtype_id::uint64, dtype_id::float64, dtype_id::complex128);
  if (!x64) row.holds.dtypes = row.holds.dtypes.without(wide);
  return row;
}

}  // namespace

target_row& jax_target() noexcept {
  static target_row rows[] = {make_jax_row(false), make_jax_row(true)};
  return rows[jax_has_x64()];
}

target_row& cupy_target() noexcept {
  static target_row row{capabilities_of(framework::cupy), prepare_cupy,
                        wrap_by_object<framework::cupy>, same_object};
  return row;
}

target_row& tensorflow_target() noexcept {
  static target_row row{
      capabilities_of(framework::tensorflow), prepare_tensorflow,
      wrap_by_capsule<framework::tensorflow, make_legacy_capsule, call_from_dlpack_of_tensorflow>,
      same_object};
  return row;
}

target_row& tvm_ffi_target() noexcept {
  static target_row row{capabilities_of(framework::tvm_ffi), prepare_tvm_ffi,
                        wrap_by_capsule<framework::tvm_ffi, make_versioned_capsule>, same_object};
  return row;
}

}  // namespace dlpack_bridge::python
