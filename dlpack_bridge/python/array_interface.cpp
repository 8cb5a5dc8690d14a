// Objects with `__array_interface__` (host) or `__cuda_array_interface__` (CUDA): a dict that names
// an address.

#include <optional>
#include <string>
#include <string_view>

#include <dlpack_bridge/python/dtype_text.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

using why = reason_code;

PyObject* item(PyObject* dict, const char* key) noexcept {
  PyObject* found = PyDict_GetItemString(dict, key);
  return found == Py_None ? nullptr : found;
}

bool malformed(inbound& in, const char* text) {
  in.desc.has_layout = in.desc.has_dtype = false;
  const bool on_host = in.row == &array_interface_source;
  in.desc.has_device = on_host || needs_cuda(in.desc.view.device().type);
  in.refuse(why::malformed, text);
  return true;
}

// What `data` names, and for a buffer how far it reaches.
struct named_memory {
  void* data = nullptr;
  bool read_only = false;
  bool bounded = false;     // a buffer: the layout must stay inside
  std::int64_t before = 0;  // bytes of the buffer in front of `data` ...
  std::int64_t behind = 0;  // ... and from there to its end
};

// The address: `data` is a pair (address, read-only), a buffer, or missing (the object is one).
bool read_data(inbound& in, PyObject* dict, bool on_host, named_memory& memory) {
  PyObject* pair = item(dict, "data");
  if (pair != nullptr && PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2) {
    memory.data = PyLong_AsVoidPtr(PyTuple_GET_ITEM(pair, 0));
    memory.read_only = PyObject_IsTrue(PyTuple_GET_ITEM(pair, 1)) == 1;
    in.held = own_object(in.object);
    return !PyErr_Occurred();
  }
  if (!on_host) return false;
  const Py_buffer* const view =
      borrow_buffer(pair == nullptr ? in.object : pair, PyBUF_SIMPLE, in.held);
  if (view == nullptr) return false;
  PyObject* offset_object = item(dict, "offset");
  const Py_ssize_t offset = offset_object == nullptr ? 0 : PyLong_AsSsize_t(offset_object);
  if (PyErr_Occurred()) return false;
  memory.read_only = view->readonly != 0;
  memory.bounded = true;
  memory.before = offset;
  memory.behind = view->len - offset;
  memory.data = static_cast<char*>(view->buf) + offset;
  return offset >= 0 && offset <= view->len;
}

bool read_strides(inbound& in, PyObject* dict, const extent* shape, int ndim, dtype type,
                  const extent*& strides) noexcept {
  strides = nullptr;
  PyObject* given = item(dict, "strides");
  if (given == nullptr) return true;  // row-major
  extent byte_strides[most_held_axes];
  if (read_extents(given, byte_strides) != ndim) return false;
  strides = read_byte_strides(in, shape, byte_strides, ndim, type.itemsize());
  return true;
}

// Whether the layout spans an address range at all and, for a buffer, stays inside it. Strides in
// bytes come straight from the dict: nobody has looked at them yet.
bool has_sound_span(const description& d, const named_memory& memory) noexcept {
  if (d.layout.empty) return true;
  extent byte_strides[most_held_axes];
  if (d.view.strides() == nullptr) {
    row_major_strides(d.view.shape(), byte_strides, d.itemsize);
  } else {
    const std::int64_t step = d.byte_strides ? 1 : d.itemsize;
    for (int i = 0; i < d.view.ndim(); ++i) {
      const extent stride = d.view.shape(i) == 1 ? 0 : d.view.strides()[i];
      if (__builtin_mul_overflow(stride, step, &byte_strides[i])) return false;
    }
  }
  const std::optional<byte_span> span = span_of(d.view.shape(), byte_strides, d.itemsize);
  if (!span) return false;
  return !memory.bounded || (-span->low <= memory.before && span->high <= memory.behind);
}

bool describe_dict(inbound& in, PyObject* dict, DLDeviceType where) {
  if (item(dict, "mask") != nullptr) {
    in.refuse(why::subclass, "the interface has a mask; pass the data without it");
  }
  PyObject* typestr = item(dict, "typestr");
  const char* text =
      typestr != nullptr && PyUnicode_Check(typestr) ? PyUnicode_AsUTF8(typestr) : nullptr;
  if (text == nullptr) return malformed(in, "typestr is missing; mend it in the producer");
  PyObject* shape_object = item(dict, "shape");
  const int ndim = shape_object == nullptr ? -1 : read_extents(shape_object, in.shape_room);
  if (ndim < 0) return malformed(in, "shape is no tuple of ints; mend it in the producer");
  const std::optional<written_dtype> element = dtype_from_typestr(text);
  if (!element) {
    in.desc.has_layout = false;
    const bool objects = std::string_view(text).substr(0, 2).ends_with('O');
    in.name_dtype("typestr '" + std::string(text) + (objects ? "' (object)" : "'"));
    in.desc.view = tensor_view(nullptr, in.shape_room, nullptr, ndim, dtype(), device(where));
    return true;
  }
  if (element->swapped) in.desc.state.add(why::byte_order);
  named_memory memory;
  const bool on_host = where == kDLCPU;
  if (!read_data(in, dict, on_host, memory)) {
    PyErr_Clear();
    return malformed(in,
                     "data is neither a pair (address, read-only) nor a contiguous buffer with an "
                     "offset inside it; mend it in the producer");
  }
  const dtype type = element->type;
  void* const data = memory.data;
  const bool read_only = memory.read_only;
  const extent* strides;
  if (!read_strides(in, dict, in.shape_room, ndim, type, strides)) {
    return malformed(in, "strides do not fit the shape; mend it in the producer");
  }
  DLTensor tensor{data, device(where), ndim, type, in.shape_room, const_cast<extent*>(strides), 0};
  if (in.desc.byte_strides) tensor.strides = nullptr;  // validated without: they are no elements
  describe_tensor(in, tensor, read_only ? DLPACK_FLAG_BITMASK_READ_ONLY : 0);
  if (in.desc.byte_strides && in.desc.has_layout) {
    in.desc.view = tensor_view(data, in.shape_room, strides, ndim, type, device(where), read_only);
    describe_layout(in.desc);
  }
  if (in.desc.has_layout && !has_sound_span(in.desc, memory)) {
    return malformed(
        in, "the layout reaches beyond its buffer or the address space; mend it in the producer");
  }
  return true;
}

// The interface of an object, which may be there only where it holds: an AttributeError and None say
// that it is not. Empty with or without an error set.
ref interface_of(PyObject* object, const char* name) noexcept {
  ref found = ref::steal(PyObject_GetAttrString(object, name));
  if (!found && PyErr_ExceptionMatches(PyExc_AttributeError)) PyErr_Clear();
  return found.get() == Py_None ? ref() : std::move(found);
}

bool describe_found(inbound& in, PyObject* found, DLDeviceType where) {
  if (PyDict_Check(found)) return describe_dict(in, found, where);
  return malformed(in, "the interface is no dict; mend it in the producer");
}

// The dict does not say on which device the memory is; the driver knows.
void locate(inbound& in) {
  const tensor_view& v = in.desc.view;
  const device where = cuda_backend()->locate(v.data());
  if (!needs_cuda(where.type)) return;
  in.desc.view = tensor_view(v.data(), v.shape().data(), v.strides(), v.ndim(), v.dtype(), where,
                             v.read_only());
}

bool describe_host_interface(inbound& in, const requirements&) {
  const ref found = interface_of(in.object, "__array_interface__");
  if (found) return describe_found(in, found.get(), kDLCPU);
  if (PyErr_Occurred()) return in.refuse_producer_error();
  raise_not_an_array(in.object);
  return false;
}

// Version 3: None (or nothing) when there is nothing to wait for, 1, 2 or a handle; 0 is ambiguous.
// https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html
bool read_stream(PyObject* dict, stream_handle& stream) noexcept {
  stream = stream_handle::caller_orders();
  PyObject* given = item(dict, "stream");
  if (given == nullptr) return true;
  const bool number = PyLong_Check(given) && !PyBool_Check(given);
  const long long value = number ? PyLong_AsLongLong(given) : 0;
  PyErr_Clear();
  const auto read = stream_handle::from_protocol(kDLCUDA, value);
  if (!read || read->no_sync()) return false;
  stream = *read;
  return true;
}

bool describe_cuda_interface(inbound& in, const requirements& wanted) {
  const ref found = interface_of(in.object, "__cuda_array_interface__");
  if (!found && PyErr_Occurred()) return in.refuse_producer_error();
  if (!found) {  // not on a GPU: it may have the other one
    in.row = &array_interface_source;
    return describe_host_interface(in, wanted);
  }
  if (!describe_found(in, found.get(), kDLCUDA)) return false;
  if (PyDict_Check(found.get()) && !read_stream(found.get(), in.desc.streams.producer.handle)) {
    in.refuse(
        why::stream,
        "the interface names no stream that exists; mend the producer to name None, 1, 2 or a "
        "handle");
  }
  if (in.desc.has_layout && !in.desc.layout.empty && cuda_status().answers()) locate(in);
  return true;
}

bool renew_cuda_interface(PyObject* object, const type_entry&, device, stream_handle,
                          stream_facts& streams) {
  const ref dict = ref::steal(PyObject_GetAttrString(object, "__cuda_array_interface__"));
  if (!dict) return false;
  if (PyDict_Check(dict.get()) && read_stream(dict.get(), streams.producer.handle)) return true;
  PyErr_SetString(PyExc_BufferError, "__cuda_array_interface__ names no stream that exists");
  return false;
}

}  // namespace

const source_row array_interface_source{"array_interface", framework::other,
                                        describe_host_interface, take_held};
const source_row cuda_array_interface_source{"cuda_array_interface", framework::other,
                                             describe_cuda_interface, take_held,
                                             renew_cuda_interface};

}  // namespace dlpack_bridge::python
