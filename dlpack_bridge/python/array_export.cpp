// How an Array leaves by itself: `__dlpack__` and the interface dicts.

#include <limits>
#include <string>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/device_object.hpp>
#include <dlpack_bridge/python/dtype_text.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/keywords.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/version.hpp>

namespace dlpack_bridge::python {
namespace {

PyObject* in_capsule(managed_tensor&& t, bool versioned) {
  ref capsule =
      versioned ? make_versioned_capsule(std::move(t)) : make_legacy_capsule(std::move(t));
  return capsule.release();
}

template <bool versioned>
PyObject* wrap_in_capsule(handed_over& out, PyObject*) {
  return in_capsule(
      managed_tensor::wrap(out.view, std::move(out.keep), out.flags, /*in_turn=*/true), versioned);
}

// ---- __dlpack__ ------------------------------------------------------------------------------

// What __dlpack__ was called with, unread.
struct dlpack_arguments {
  PyObject* values[4] = {Py_None, Py_None, Py_None, Py_None};

  PyObject* max_version() const noexcept { return values[0]; }
  PyObject* stream() const noexcept { return values[1]; }
  PyObject* dl_device() const noexcept { return values[2]; }
  PyObject* copy() const noexcept { return values[3]; }

  bool ask_nothing() const noexcept {
    return stream() == Py_None && dl_device() == Py_None && copy() == Py_None;
  }
};

bool sort_arguments(PyObject* const* args, Py_ssize_t count, PyObject* names,
                    dlpack_arguments& given) noexcept {
  if (count != 0) {
    PyErr_SetString(PyExc_TypeError, "__dlpack__() takes keyword arguments only");
    return false;
  }
  static const keyword_names known{"max_version", "stream", "dl_device", "copy"};
  const Py_ssize_t keywords = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    const int place = known.find(name);
    if (place < 0) {
      PyErr_Format(PyExc_TypeError, "__dlpack__() got an unexpected keyword argument '%U'", name);
      return false;
    }
    given.values[place] = args[i];
  }
  return true;
}

bool read_max_version(PyObject* value, bool& versioned) noexcept {
  if (value == Py_None) return true;
  if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 2 ||
      !PyLong_Check(PyTuple_GET_ITEM(value, 0)) || !PyLong_Check(PyTuple_GET_ITEM(value, 1))) {
    PyErr_SetString(PyExc_TypeError, "max_version is None or a pair of ints (major, minor)");
    return false;
  }
  static PyObject* const one = PyLong_FromLong(1);  // small ints are one object each
  PyObject* const given = PyTuple_GET_ITEM(value, 0);
  if (given == one) [[likely]] {
    versioned = true;
    return true;
  }
  int beyond = 0;
  const long major = PyLong_AsLongAndOverflow(given, &beyond);
  versioned = beyond > 0 || (beyond == 0 && major >= 1);
  return true;
}

// The array API's table, per kind of device; the memory of the host knows no streams.
bool read_stream(PyObject* stream, device to, requirements& wanted) noexcept {
  if (stream == Py_None) {
    // The legacy default stream; whoever asks for managed memory like this may read it on the host.
    if (to.type == kDLCUDA) wanted.stream = stream_handle::legacy();
    wanted.complete = to.type == kDLCUDAManaged;
    return true;
  }
  if (!PyLong_Check(stream) || PyBool_Check(stream)) {
    PyErr_Format(PyExc_TypeError, "stream is None or an int, got %.200s", Py_TYPE(stream)->tp_name);
    return false;
  }
  int beyond = 0;
  long long number = PyLong_AsLongLongAndOverflow(stream, &beyond);
  if (beyond != 0) number = beyond > 0 ? INT64_MAX : INT64_MIN;
  const auto read = stream_handle::from_protocol(to.type, number);
  if (beyond != 0 || !read) wanted.refused_stream = number;
  else wanted.stream = *read;
  return true;
}

bool read_arguments(const dlpack_arguments& given, device own, requirements& wanted) noexcept {
  if (given.dl_device() != Py_None) {
    wanted.device = device_to_use(given.dl_device());
    if (!wanted.device) return false;
  }
  wanted.readonly = readonly_policy::error;  // nobody asked for a copy
  return read_copy(given.copy(), wanted) &&
         read_stream(given.stream(), wanted.device.value_or(own), wanted);
}

[[gnu::noinline]] plain_export decide_plain_export(const array_object* self,
                                                   bool versioned) noexcept {
  const requirements nothing{.readonly = readonly_policy::error};
  const decision d =
      negotiate(describe(self->view()), nothing, consumer_of(self, versioned, false).holds);
  const bool plain = d.action == action::share && d.read_only == self->read_only;
  return plain ? plain_export::yes : plain_export::no;
}

// The decision for who asks nothing, remembered by the array. Device memory is ordered anew each time.
bool leaves_as_it_is(array_object* self, bool versioned) noexcept {
  plain_export& known = self->plain[versioned];
  if (known == plain_export::undecided && self->device == device()) [[unlikely]] {
    known = decide_plain_export(self, versioned);
  }
  return known == plain_export::yes;
}

[[gnu::hot]] PyObject* hand_out(PyObject* self, bool versioned) noexcept {
  release_late_ones();
  try {
    return in_capsule(share_array(self), versioned);
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
}

[[gnu::noinline]] PyObject* export_as_told(PyObject* self, const dlpack_arguments& given,
                                           bool versioned) {
  const array_object* array = as_array(self);
  requirements wanted;
  if (!read_arguments(given, array->device, wanted)) return nullptr;
  const bool forbids_copy = wanted.copy == copy_policy::never;
  return convert(self, consumer_of(array, versioned, forbids_copy), wanted);
}

// The rows of unknown consumers: whether they take versioned capsules, whether negative strides.
target_row make_consumer_row(bool versioned, bool negative_strides) noexcept {
  target_row row{capabilities_of(framework::cpp), nullptr,
                 versioned ? wrap_in_capsule<true> : wrap_in_capsule<false>, same_object};
  row.holds.name = "a DLPack consumer";
  row.holds.negative_strides = negative_strides;
  row.holds.read_only = versioned;  // a legacy capsule has no flags to say so
  row.holds.max_ndim = std::numeric_limits<std::int32_t>::max();
  row.buffer_errors_only = true;
  return row;
}

// The row of one who takes what an exchange has decided already: it may hold whatever it is given.
target_row make_transit_row(bool versioned) noexcept {
  target_row row = make_consumer_row(versioned, true);
  row.holds.read_only = true;
  row.tells_traces = false;
  return row;
}

// ---- the interface dicts ---------------------------------------------------------------------

// Strides are always written: whoever finds none may ask for a buffer, which an Array is not (Pillow).
PyObject* interface_dict(const array_object* self, const std::string& typestr) noexcept {
  const ref shape = tuple_of(self->shape(), self->ndim);
  const ref strides = tuple_of(self->strides(), self->ndim, self->dtype.itemsize());
  const ref address = ref::steal(PyLong_FromVoidPtr(self->data));
  if (!shape || !strides || !address) return nullptr;
  return Py_BuildValue("{s:i,s:s,s:O,s:O,s:(OO)}", "version", 3, "typestr", typestr.c_str(),
                       "shape", shape.get(), "strides", strides.get(), "data", address.get(),
                       self->read_only ? Py_True : Py_False);
}

}  // namespace

const target_row& consumer_of(const array_object* self, bool versioned,
                              bool negative_strides) noexcept {
  static const target_row rows[2][2] = {
      {make_consumer_row(false, false), make_consumer_row(false, true)},
      {make_consumer_row(true, false), make_consumer_row(true, true)}};
  static const target_row in_transit[2] = {make_transit_row(false), make_transit_row(true)};
  return self->in_transit ? in_transit[versioned] : rows[versioned][negative_strides];
}

PyObject* array_dlpack_device(PyObject* self, PyObject*) {
  const device where = as_array(self)->device;
  const extent pair[] = {where.type, where.id};
  return tuple_of(pair, 2).release();
}

[[gnu::hot]] PyObject* array_dlpack(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                    PyObject* names) {
  dlpack_arguments given;
  bool versioned = false;
  if (!sort_arguments(args, count, names, given)) return nullptr;
  if (!read_max_version(given.max_version(), versioned)) return nullptr;
  array_object* array = as_array(self);
  const bool told = is_traced() && !array->in_transit;
  if (given.ask_nothing() && !told && leaves_as_it_is(array, versioned)) [[likely]] {
    return hand_out(self, versioned);
  }
  return export_as_told(self, given, versioned);
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
  // The reader orders its stream after the one that is named here.
  try {
    if (!renew_order(as_array(object), {})) return nullptr;
  } catch (...) {
    raise_current_exception();
    return nullptr;
  }
  ref dict = ref::steal(interface_dict(self, typestr));
  const bool waits = self->stream.known() && !self->stream.no_sync();
  const ref stream =
      waits ? ref::steal(PyLong_FromLongLong(self->stream.protocol())) : ref::borrow(Py_None);
  if (!dict || !stream || PyDict_SetItemString(dict.get(), "stream", stream.get()) != 0) {
    return nullptr;
  }
  return dict.release();
}

}  // namespace dlpack_bridge::python
