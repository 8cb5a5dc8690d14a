#include <dlpack_bridge/python/array.hpp>

#include <cstddef>
#include <new>
#include <string>

#include <structmember.h>

#include <dlpack_bridge/array_axes.hpp>
#include <dlpack_bridge/python/device_object.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

PyTypeObject* type_ = nullptr;

// ---- life ------------------------------------------------------------------------------------

[[gnu::hot]] void array_dealloc(PyObject* object) {
  array_object* self = as_array(object);
  if (self->weak_references != nullptr) PyObject_ClearWeakRefs(object);
  PyTypeObject* type = Py_TYPE(object);
  Py_CLEAR(self->source);
  drop_with_gil(self->keep);
  self->keep.~owner();
  self->token.~live_object_token();
  type->tp_free(object);
  Py_DECREF(type);
}

// ---- attributes ------------------------------------------------------------------------------

PyObject* get_shape(PyObject* o, void*) {
  return tuple_of(as_array(o)->shape(), as_array(o)->ndim).release();
}
PyObject* get_strides(PyObject* o, void*) {
  return tuple_of(as_array(o)->strides(), as_array(o)->ndim).release();
}
PyObject* get_ndim(PyObject* o, void*) { return PyLong_FromLong(as_array(o)->ndim); }
PyObject* get_size(PyObject* o, void*) { return PyLong_FromLongLong(as_array(o)->view().size()); }
PyObject* get_itemsize(PyObject* o, void*) {
  return PyLong_FromLongLong(as_array(o)->dtype.itemsize());
}
PyObject* get_nbytes(PyObject* o, void*) {
  return PyLong_FromLongLong(as_array(o)->view().nbytes());
}
PyObject* get_dtype(PyObject* o, void*) { return make_dtype(as_array(o)->dtype).release(); }
PyObject* get_device(PyObject* o, void*) { return make_device(as_array(o)->device).release(); }
PyObject* get_readonly(PyObject* o, void*) { return PyBool_FromLong(as_array(o)->read_only); }
PyObject* get_data_ptr(PyObject* o, void*) { return PyLong_FromVoidPtr(as_array(o)->data); }
PyObject* get_c_contiguous(PyObject* o, void*) {
  return PyBool_FromLong(as_array(o)->view().is_c_contiguous());
}
PyObject* get_copied(PyObject* o, void*) { return PyBool_FromLong(as_array(o)->copied); }

// ---- methods ---------------------------------------------------------------------------------

PyObject* copy_array(PyObject* o, PyObject*) { return fresh_copy(o).release(); }

Py_ssize_t length(PyObject* o) {
  if (as_array(o)->ndim == 0) {
    PyErr_SetString(PyExc_TypeError, "len() of a 0-d array");
    return -1;
  }
  return as_array(o)->shape()[0];
}

PyObject* repr(PyObject* o) {
  const array_object* self = as_array(o);
  const ref shape = tuple_of(self->shape(), self->ndim);
  if (!shape) return nullptr;
  return PyUnicode_FromFormat("dlpack_bridge.Array(shape=%R, dtype=%s, device=%s%s)", shape.get(),
                              self->dtype.name().c_str(), self->device.name().c_str(),
                              self->read_only ? ", readonly" : "");
}

PyGetSetDef attributes[] = {
    {"shape", get_shape, nullptr, "Extents, a tuple of ints.", nullptr},
    {"strides", get_strides, nullptr, "Strides in elements, a tuple of ints.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of axes.", nullptr},
    {"size", get_size, nullptr, "Number of elements.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes of one element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements, packed densely.", nullptr},
    {"dtype", get_dtype, nullptr, "Element type, a dlpack_bridge.dtype.", nullptr},
    {"device", get_device, nullptr, "Where it lives; equals its name and its DLPack tuple.",
     nullptr},
    {"readonly", get_readonly, nullptr, "True when the elements must not be written.", nullptr},
    {"data_ptr", get_data_ptr, nullptr, "Address of the first element, an int.", nullptr},
    {"c_contiguous", get_c_contiguous, nullptr, "True when row-major and dense.", nullptr},
    {"copied", get_copied, nullptr, "True when the exchange that made this array copied.", nullptr},
    {"__array_interface__", array_interface, nullptr,
     "NumPy's array interface, version 3; on host memory, for element types of NumPy's own.",
     nullptr},
    {"__cuda_array_interface__", cuda_array_interface, nullptr,
     "The CUDA array interface, version 3; on CUDA memory, for element types of NumPy's own.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef methods[] = {
    {"__dlpack__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(array_dlpack)),
     METH_FASTCALL | METH_KEYWORDS,
     "__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
     "Export as a DLPack capsule, by the rules of the array API."},
    {"__dlpack_device__", array_dlpack_device, METH_NOARGS,
     "__dlpack_device__($self)\n--\n\nThe DLPack device as (type, id)."},
    {"__array__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(array_as_numpy)),
     METH_VARARGS | METH_KEYWORDS,
     "__array__($self, dtype=None, *, copy=None)\n--\n\nThe elements as a NumPy array."},
    {"memoryview", array_memoryview, METH_NOARGS,
     "memoryview($self)\n--\n\nA memoryview of the elements that keeps the array alive."},
    {"tobytes", array_tobytes, METH_NOARGS,
     "tobytes($self)\n--\n\nThe elements in C order, a bytes object of nbytes bytes."},
    {"__reduce_ex__", array_reduce_ex, METH_O, nullptr},
    {"__copy__", copy_array, METH_NOARGS, nullptr},
    {"__deepcopy__", copy_array, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr}};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(array_object, weak_references), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

PyTypeObject* make_type() noexcept {
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("An array of any framework and device, held by the hub.\n\n"
                                    "Made by asarray, from_dlpack and convert(x, \"array\").")},
      {Py_tp_dealloc, reinterpret_cast<void*>(array_dealloc)},
      {Py_tp_repr, reinterpret_cast<void*>(repr)},
      {Py_tp_getset, attributes},
      {Py_tp_methods, methods},
      {Py_tp_members, members},
      {Py_mp_length, reinterpret_cast<void*>(length)},
      {Py_tp_iter, reinterpret_cast<void*>(array_iterator)},
      {Py_nb_bool, reinterpret_cast<void*>(array_truth)},
      {0, nullptr}};
  // A mapping's length, not a sequence's, which frameworks would read element by element. Immutable:
  // others keep the table that hangs on the type.
  static PyType_Spec spec = {
      "dlpack_bridge.Array", static_cast<int>(offsetof(array_object, extents)), sizeof(extent),
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

// ---- source and target -----------------------------------------------------------------------

ref alive(PyObject* weak) noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* object = nullptr;
  PyWeakref_GetRef(weak, &object);
  return ref::steal(object);
#else
  PyObject* object = PyWeakref_GetObject(weak);
  return object == Py_None ? ref() : ref::borrow(object);
#endif
}

// Makes later work on the array's stream wait for the stream its source names now.
bool order_after_source(const array_object* self, stream_handle producer) {
  if (!producer.known() || producer.no_sync() || producer == self->stream) return true;
  stream_state mine{.handle = self->stream}, theirs{.handle = producer};
  cuda_backend()->look_at(self->device, mine);
  cuda_backend()->look_at(self->device, theirs);
  if (!may_order(mine, theirs)) return refuse_capture();
  cuda_backend()->order(self->device, self->stream, self->device, producer);
  return true;
}

bool renew_array(PyObject* object, const type_entry&, device, stream_handle consumer,
                 stream_facts& streams) {
  streams.producer.handle = as_array(object)->stream;
  return renew_order(as_array(object), consumer);
}

// The use of who drops what an Array exported becomes the Array's own, whose producer may protect the
// memory itself. Only where that is safe: a stream may be destroyed before an Array that others hold,
// unless it is the one that the Array is ordered on.
bool declare_use(void* context, device where, stream_handle stream) noexcept {
  if (stream.per_thread() || !Py_IsInitialized() || PyGILState_Check() == 0) return false;
  auto* array = static_cast<PyObject*>(context);
  if (Py_REFCNT(array) != 1 && stream != as_array(array)->stream) return false;
  try {
    return cuda_backend()->record_use(where, as_array(array)->data, stream, owner());
  } catch (...) {
    return false;  // the driver refused: whoever asked takes its own way
  }
}

[[gnu::hot]] owner take_array(inbound& in) {
  array_object* self = as_array(in.object);
  if (self->in_transit) return shared_owner::second_of(self->keep);
  if (needs_cuda(self->device.type)) in.listener = {in.object, declare_use};
  return take_object(in);
}

[[gnu::hot]] bool describe_array(inbound& in, const requirements& wanted) {
  const array_object* self = as_array(in.object);
  in.desc.view = self->view();
  describe_layout(in.desc);
  if (!needs_cuda(self->device.type)) return true;
  in.desc.streams.producer.handle = self->stream;
  const bool nothing_to_order = wanted.stream.no_sync() || wanted.refused_stream.has_value();
  if (in.mode == look::borrow || nothing_to_order) return true;
  const stream_handle consumer = stream_of_use(in, wanted, self->device);
  if (renew_order(as_array(in.object), consumer)) return true;
  return !PyErr_ExceptionMatches(state().exchange_error) && in.refuse_producer_error();
}

bool prepare_array(target_row& row) {
  row.ready = true;
  return true;
}

// Another thread has another per-thread stream: its order is kept on the hub's own.
stream_handle stream_for_all_threads(stream_handle stream, device where) {
  if (!stream.per_thread()) return stream;
  const stream_handle own = cuda_backend()->own_stream(where);
  cuda_backend()->order(where, own, where, stream);
  return own;
}

[[gnu::hot]] PyObject* wrap_as_array(handed_over& out, PyObject* writer) {
  const bool copied = (out.flags & DLPACK_FLAG_BITMASK_IS_COPIED) != 0;
  const device where = out.view.device();
  const bool on_device = needs_cuda(where.type);
  const stream_handle stream =
      on_device ? stream_for_all_threads(out.stream, where) : stream_handle();
  ref made = make_array(out.view, std::move(out.keep), copied, stream);
  if (made && on_device && writer != nullptr && PyType_SUPPORTS_WEAKREFS(Py_TYPE(writer))) {
    as_array(made.get())->source = PyWeakref_NewRef(writer, nullptr);
    if (as_array(made.get())->source == nullptr) return nullptr;
  }
  return made.release();
}

}  // namespace

const source_row array_source{.protocol = "array",
                              .id = framework::array,
                              .describe = describe_array,
                              .take = take_array,
                              .renew = renew_array,
                              .keep = keep_itself};

[[gnu::hot]] managed_tensor share_array(PyObject* array) {
  array_object* self = as_array(array);
  owner keep =
      self->in_transit ? shared_owner::second_of(self->keep) : share_keep(self->keep, array);
  return managed_tensor::wrap(self->view(), std::move(keep), 0, /*in_turn=*/true);
}

bool renew_order(array_object* self, stream_handle consumer) {
  if (self->source == nullptr || !self->stream.known() || self->stream.no_sync()) return true;
  if (!cuda_status().answers()) return true;
  const ref source = alive(self->source);
  const type_entry* found = source ? entry_of(Py_TYPE(source.get())) : nullptr;
  if (found == nullptr || found->row->renew == nullptr) return !PyErr_Occurred();
  const type_entry entry = *found;  // the cache may move on while foreign code runs
  stream_facts now;
  return entry.row->renew(source.get(), entry, self->device, self->stream, now) &&
         (now.producer.handle == consumer || order_after_source(self, now.producer.handle));
}

DLTensor array_object::tensor() const noexcept {
  return {data,
          device,
          ndim,
          dtype,
          const_cast<extent*>(ndim == 0 ? nullptr : shape()),
          const_cast<extent*>(ndim == 0 ? nullptr : strides()),
          byte_offset};
}

PyTypeObject* array_type() noexcept { return type_; }

bool initialize_array_type() noexcept {
  if (type_ != nullptr) return true;
  if (!initialize_exporter_type()) return false;
  if (state().array_type != nullptr) {
    type_ = state().array_type;
    return true;
  }
  PyTypeObject* made = make_type();
  if (made == nullptr) return false;
  const ref table = ref::steal(PyCapsule_New(const_cast<DLPackExchangeAPI*>(array_exchange_api()),
                                             "dlpack_exchange_api", nullptr));
  if (!table ||
      PyDict_SetItemString(made->tp_dict, "__dlpack_c_exchange_api__", table.get()) != 0) {
    return false;
  }
  PyType_Modified(made);
  type_ = state().array_type = made;
  return true;
}

[[gnu::hot]] ref make_array(const tensor_view& view, owner keep, bool copied,
                            stream_handle stream) noexcept {
  ref made = ref::steal(type_->tp_alloc(type_, 2 * static_cast<Py_ssize_t>(view.ndim())));
  if (!made) return made;
  array_object* self = as_array(made.get());
  new (&self->keep) owner(std::move(keep));
  new (&self->token) live_object_token();
  self->data = view.data();
  self->byte_offset = view.byte_offset();
  self->dtype = view.dtype();
  self->device = view.device();
  self->ndim = view.ndim();
  self->read_only = view.read_only();
  self->copied = copied;
  self->stream = stream;
  copy_axes(view, self->extents, self->extents + view.ndim());
  return made;
}

ref make_transit_array(handed_over& out) {
  ref made = ref::steal(wrap_as_array(out, nullptr));
  if (made) as_array(made.get())->in_transit = true;
  return made;
}

ref fresh_copy(PyObject* array) {
  requirements wanted;
  wanted.copy = copy_policy::always;
  return ref::steal(convert(array, array_target(), wanted));
}

[[gnu::hot]] target_row& array_target() noexcept {
  static target_row row{capabilities_of(framework::array), prepare_array, wrap_as_array,
                        same_object};
  return row;
}

ref tuple_of(const extent* values, std::int32_t count, std::int64_t factor) noexcept {
  ref tuple = ref::steal(PyTuple_New(count));
  for (std::int32_t i = 0; tuple && i < count; ++i) {
    PyObject* value = PyLong_FromLongLong(values[i] * factor);
    if (value == nullptr) return {};
    PyTuple_SET_ITEM(tuple.get(), i, value);
  }
  return tuple;
}

}  // namespace dlpack_bridge::python
