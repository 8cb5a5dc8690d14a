// How an Array leaves by itself: `__dlpack__`, the exchange table, the interface dicts, `__array__`.

#include <bit>
#include <string>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/device_object.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/numpy.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/target.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

void raise_blocker(reason_code code, const std::string& message) noexcept {
  raise_refusal(state().exchange_error, message, {{code, message}});
}

// ---- __dlpack__ ------------------------------------------------------------------------------

PyObject* wrap_as_versioned(const tensor_view& view, owner keep, std::uint64_t flags) {
  return make_versioned_capsule(managed_tensor::wrap(view, std::move(keep), flags)).release();
}

PyObject* wrap_as_legacy(const tensor_view& view, owner keep, std::uint64_t flags) {
  return make_legacy_capsule(managed_tensor::wrap(view, std::move(keep), flags)).release();
}

// What an unknown consumer may be given. torch <= 2.13 aborts the process on negative strides
// (pytorch#188023), so they are only given to who forbids the copy.
target_row consumer_row(bool versioned, bool negative_strides) noexcept {
  target_row row{capabilities_of(framework::cpp), nullptr,
                 versioned ? wrap_as_versioned : wrap_as_legacy, same_object};
  row.holds.name = "a DLPack consumer";
  row.holds.negative_strides = negative_strides;
  row.holds.read_only = versioned;  // a legacy capsule has no flags to say so
  row.holds.max_ndim = std::numeric_limits<std::int32_t>::max();
  row.buffer_errors_only = true;
  return row;
}

struct export_request {
  requirements wanted;
  PyObject* stream = Py_None;
  bool versioned = false;
};

bool read_max_version(PyObject* value, export_request& request) noexcept {
  if (value == Py_None) return true;
  if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 2 ||
      !PyLong_Check(PyTuple_GET_ITEM(value, 0)) || !PyLong_Check(PyTuple_GET_ITEM(value, 1))) {
    PyErr_SetString(PyExc_TypeError, "max_version is None or a pair of ints (major, minor)");
    return false;
  }
  int beyond = 0;
  const long major = PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(value, 0), &beyond);
  request.versioned = beyond > 0 || (beyond == 0 && major >= 1);
  return true;
}

// The array API's table, per kind of device; the memory of the host knows no streams.
bool check_stream(const array_object* self, export_request& request) noexcept {
  if (request.stream == Py_None) return true;
  if (!PyLong_Check(request.stream) || PyBool_Check(request.stream)) {
    PyErr_Format(PyExc_TypeError, "stream is None or an int, got %.200s",
                 Py_TYPE(request.stream)->tp_name);
    return false;
  }
  int beyond = 0;
  long long number = PyLong_AsLongLongAndOverflow(request.stream, &beyond);
  if (beyond != 0) number = beyond > 0 ? INT64_MAX : INT64_MIN;
  const device to = request.wanted.device.value_or(self->device);
  const auto read = stream_handle::from_protocol(to.type, number);
  if (beyond != 0 || !read) request.wanted.refused_stream = number;
  else request.wanted.stream = *read;
  return true;
}

bool read_request(PyObject* const* args, Py_ssize_t count, PyObject* names,
                  export_request& request) noexcept {
  if (count != 0) {
    PyErr_SetString(PyExc_TypeError, "__dlpack__() takes keyword arguments only");
    return false;
  }
  const Py_ssize_t keywords = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    PyObject* value = args[i];
    if (is_keyword(name, "stream")) {
      request.stream = value;
    } else if (is_keyword(name, "max_version")) {
      if (!read_max_version(value, request)) return false;
    } else if (is_keyword(name, "dl_device")) {
      if (value == Py_None) continue;
      request.wanted.device = device_from_object(value);
      if (!request.wanted.device) return false;
    } else if (is_keyword(name, "copy")) {
      if (!read_copy(value, request.wanted)) return false;
    } else {
      PyErr_Format(PyExc_TypeError, "__dlpack__() got an unexpected keyword argument '%U'", name);
      return false;
    }
  }
  return true;
}

// ---- the exchange table ----------------------------------------------------------------------

// The table is for instances of its type; a stranger is an error and no crash.
bool is_array_object(void* object) noexcept {
  if (Py_TYPE(static_cast<PyObject*>(object)) == array_type()) return true;
  PyErr_Format(PyExc_TypeError, "expected a dlpack_bridge.Array, got %.200s",
               Py_TYPE(static_cast<PyObject*>(object))->tp_name);
  return false;
}

int export_managed(void* object, DLManagedTensorVersioned** out) {
  if (!is_array_object(object)) return -1;
  try {
    auto* self = static_cast<PyObject*>(object);
    *out = managed_tensor::wrap(as_array(self)->view(), own_object(self)).release();
    return 0;
  } catch (...) {
    raise_current_exception();
    return -1;
  }
}

// On failure the tensor still belongs to the caller. The same judgement as everywhere: a layout that
// overlaps itself is read-only, an address that is not aligned means a copy.
PyObject* import_checked(DLManagedTensorVersioned* tensor) {
  const bool read_only = (tensor->flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0;
  const requirements wanted;
  const capabilities& holds = array_target().holds;
  description d = describe(tensor_view(tensor->dl_tensor, read_only));
  d.is_copied = (tensor->flags & DLPACK_FLAG_BITMASK_IS_COPIED) != 0;
  find_facts(d, wanted);
  const decision decided = negotiate(d, wanted, holds);
  if (decided.action == action::refuse) {
    raise_refusal(state().exchange_error, refusal_text(decided, d, wanted, holds),
                  explain_all(decided.blockers, d, wanted, holds));
    return nullptr;
  }
  extent room[64];
  if (!decided.copies_here) {
    ref made = make_array(shared_view(d, decided, room), owner(), d.is_copied);
    if (made) as_array(made.get())->keep = own_managed(tensor);
    return made.release();
  }
  fresh_copy copied = carry_out_copy(d, decided, room);
  ref made = make_array(copied.view, std::move(copied.keep), true);
  if (made) own_managed(tensor);
  return made.release();
}

int import_managed(DLManagedTensorVersioned* tensor, void** out) {
  if (!is_readable(tensor->version)) {
    raise_blocker(reason_code::version, "the managed tensor has another major version of DLPack");
    return -1;
  }
  if (const defect found = validate(tensor->dl_tensor); found != defect::none) {
    raise_blocker(reason_code::malformed, to_string(found));
    return -1;
  }
  try {
    *out = import_checked(tensor);
  } catch (...) {
    raise_current_exception();
    return -1;
  }
  return *out == nullptr ? -1 : 0;
}

int borrow_tensor(void* object, DLTensor* out) {
  if (!is_array_object(object)) return -1;
  *out = as_array(static_cast<PyObject*>(object))->tensor();
  return 0;
}

int allocate_like(DLTensor* prototype, DLManagedTensorVersioned** out, void* error_context,
                  void (*set_error)(void* error_context, const char* kind, const char* message)) {
  const auto fail = [&](const char* kind, const char* message) {
    if (set_error != nullptr) set_error(error_context, kind, message);
    return -1;
  };
  if (prototype->device.device_type != kDLCPU) {
    return fail("BufferError", "dlpack_bridge allocates CPU memory here, no other device");
  }
  if (id_of(prototype->dtype) == dtype_id::unknown) {
    return fail("BufferError", "the element type is not known to this version");
  }
  if (prototype->ndim < 0 || prototype->ndim > most_axes ||
      (prototype->ndim > 0 && prototype->shape == nullptr)) {
    return fail("ValueError", "the prototype's shape is missing or has an impossible ndim");
  }
  try {
    const std::span<const extent> shape(prototype->shape,
                                        static_cast<std::size_t>(prototype->ndim));
    *out = make_tensor(extent_list(shape), dtype(prototype->dtype)).release();
    return 0;
  } catch (const std::bad_alloc&) {
    return fail("MemoryError", "out of memory");
  } catch (const std::exception& error) {
    return fail("ValueError", error.what());
  }
}

int current_work_stream(DLDeviceType, std::int32_t, void** out) {
  *out = nullptr;  // host memory has none; NULL is the legacy default stream elsewhere
  return 0;
}

// ---- the interface dicts ---------------------------------------------------------------------

// '<f4' and the like; empty when NumPy has no such type of its own.
std::string typestr_of(dtype type) {
  static const dtype_set named = capabilities_of(framework::numpy).dtypes;
  if (!named.contains(id_of(type))) return {};
  const char kind = type.code == kDLBool    ? 'b'
                    : type.code == kDLInt   ? 'i'
                    : type.code == kDLUInt  ? 'u'
                    : type.code == kDLFloat ? 'f'
                                            : 'c';
  const char native = std::endian::native == std::endian::little ? '<' : '>';
  const char order = type.itemsize() == 1 ? '|' : native;
  return std::string{order, kind} + std::to_string(type.itemsize());
}

PyObject* interface_dict(const array_object* self, const std::string& typestr) noexcept {
  const ref shape = tuple_of(self->shape(), self->ndim);
  const ref strides = self->view().is_c_contiguous()
                          ? ref::borrow(Py_None)
                          : tuple_of(self->strides(), self->ndim, self->dtype.itemsize());
  const ref address = ref::steal(PyLong_FromVoidPtr(self->data));
  if (!shape || !strides || !address) return nullptr;
  return Py_BuildValue("{s:i,s:s,s:O,s:O,s:(OO)}", "version", 3, "typestr", typestr.c_str(),
                       "shape", shape.get(), "strides", strides.get(), "data", address.get(),
                       self->read_only ? Py_True : Py_False);
}

}  // namespace

PyObject* array_dlpack(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  export_request request;
  if (!read_request(args, count, names, request)) return nullptr;
  if (!check_stream(as_array(self), request)) return nullptr;
  request.wanted.readonly = readonly_policy::error;  // nobody asked for a copy
  const bool forbids_copy = request.wanted.copy == copy_policy::never;
  return convert(self, consumer_row(request.versioned, forbids_copy), request.wanted);
}

const DLPackExchangeAPI* array_exchange_api() noexcept {
  static const DLPackExchangeAPI table{
      .header = {exported_dlpack_version, nullptr},
      .managed_tensor_allocator = allocate_like,
      .managed_tensor_from_py_object_no_sync = export_managed,
      .managed_tensor_to_py_object_no_sync = import_managed,
      .dltensor_from_py_object_no_sync = borrow_tensor,
      .current_work_stream = current_work_stream,
  };
  return &table;
}

PyObject* array_interface(PyObject* object, void*) {
  const array_object* self = as_array(object);
  const std::string typestr = typestr_of(self->dtype);
  if (!is_host_memory(self->device.type) || typestr.empty()) {
    PyErr_Format(PyExc_AttributeError,
                 "no __array_interface__ for dtype %s on %s: it names NumPy's own dtypes in host "
                 "memory",
                 self->dtype.name().c_str(), self->device.name().c_str());
    return nullptr;
  }
  return interface_dict(self, typestr);
}

PyObject* cuda_array_interface(PyObject* object, void*) {
  const array_object* self = as_array(object);
  const std::string typestr = typestr_of(self->dtype);
  if (!needs_cuda(self->device.type) || typestr.empty()) {
    PyErr_Format(PyExc_AttributeError, "no __cuda_array_interface__ for dtype %s on %s",
                 self->dtype.name().c_str(), self->device.name().c_str());
    return nullptr;
  }
  return interface_dict(self, typestr);
}

PyObject* array_as_numpy(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"dtype", "copy", nullptr};
  PyObject* type = Py_None;
  PyObject* copy = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:__array__", const_cast<char**>(names), &type,
                                   &copy)) {
    return nullptr;
  }
  requirements wanted;
  if (!read_copy(copy, wanted)) return nullptr;
  if (type != Py_None) {
    wanted.dtype = dtype_from_object(type);
    if (!wanted.dtype) return nullptr;
  }
  const device where = as_array(object)->device;
  if (!is_host_memory(where.type)) {
    raise_blocker(reason_code::device,
                  "the array is on " + where.name() +
                      "; pass dlpack_bridge.to_numpy(x) to copy it to the host");
    return nullptr;
  }
  const target_row* numpy = prepared(numpy_target());
  return numpy == nullptr ? nullptr : convert(object, *numpy, wanted);
}

}  // namespace dlpack_bridge::python
