// The elements of an Array as a buffer and as bytes, and pickling. The buffer is offered by a private object and
// not by Array itself: torch.asarray prefers the buffer protocol over `__dlpack__` and then reads
// the bytes of a float64 array as float32 (torch 2.13, measured).

#include <cstdint>
#include <string>

#include <dlpack_bridge/python/array.hpp>
#include <dlpack_bridge/python/dtype_text.hpp>
#include <dlpack_bridge/python/errors.hpp>
#include <dlpack_bridge/python/process_state.hpp>
#include <dlpack_bridge/python/release.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

// ---- the exporter ----------------------------------------------------------------------------

struct exporter_object {
  PyObject_VAR_HEAD PyObject* array;
  const char* format;
  Py_ssize_t itemsize;
  int ndim;
  Py_ssize_t extents[1];  // shape, then strides in bytes
};

PyTypeObject* exporter_type = nullptr;

void exporter_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  Py_XDECREF(reinterpret_cast<exporter_object*>(object)->array);
  type->tp_free(object);
  Py_DECREF(type);
}

int exporter_get_buffer(PyObject* object, Py_buffer* out, int flags) {
  auto* self = reinterpret_cast<exporter_object*>(object);
  const array_object* array = as_array(self->array);
  if ((flags & PyBUF_WRITABLE) != 0 && array->read_only) {
    PyErr_SetString(PyExc_BufferError, "the array is read-only");
    out->obj = nullptr;
    return -1;
  }
  if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES && !array->view().is_c_contiguous()) {
    PyErr_SetString(PyExc_BufferError, "the array is not C-contiguous");
    out->obj = nullptr;
    return -1;
  }
  static char no_elements;
  const bool with_shape = (flags & PyBUF_ND) != 0;
  const bool with_strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
  *out = Py_buffer{};
  out->buf = array->data == nullptr ? &no_elements : array->data;
  out->len = array->view().nbytes();
  out->itemsize = self->itemsize;
  out->readonly = array->read_only;
  out->ndim = self->ndim;
  out->format = (flags & PyBUF_FORMAT) != 0 ? const_cast<char*>(self->format) : nullptr;
  out->shape = with_shape ? self->extents : nullptr;
  out->strides = with_strides ? self->extents + self->ndim : nullptr;
  Py_INCREF(object);
  out->obj = object;
  return 0;
}

exporter_object* allocate_exporter(PyObject* array, const char* format, Py_ssize_t itemsize,
                                   int ndim) noexcept {
  PyObject* made = exporter_type->tp_alloc(exporter_type, 2 * ndim);
  if (made == nullptr) return nullptr;
  auto* self = reinterpret_cast<exporter_object*>(made);
  Py_INCREF(array);
  self->array = array;
  self->format = format;
  self->itemsize = itemsize;
  self->ndim = ndim;
  return self;
}

// The elements; types without a format come as bytes with one more axis.
ref exporter_of_elements(PyObject* object) noexcept {
  const array_object* array = as_array(object);
  const char* format = format_of(array->dtype);
  const int more = format == nullptr ? 1 : 0;
  const Py_ssize_t itemsize = array->dtype.itemsize();
  exporter_object* self =
      allocate_exporter(object, more ? "B" : format, more ? 1 : itemsize, array->ndim + more);
  if (self == nullptr) return {};
  Py_ssize_t* const strides = self->extents + self->ndim;
  for (int i = 0; i < array->ndim; ++i) {
    self->extents[i] = array->shape()[i];
    strides[i] = array->strides()[i] * itemsize;
  }
  if (more) {
    self->extents[array->ndim] = itemsize;
    strides[array->ndim] = 1;
  }
  return ref::steal(reinterpret_cast<PyObject*>(self));
}

// All bytes of a C-contiguous array in one axis.
ref exporter_of_bytes(PyObject* object) noexcept {
  exporter_object* self = allocate_exporter(object, "B", 1, 1);
  if (self == nullptr) return {};
  self->extents[0] = as_array(object)->view().nbytes();
  self->extents[1] = 1;
  return ref::steal(reinterpret_cast<PyObject*>(self));
}

// Packed elements have no addresses of their own: what is dense is offered as its bytes.
ref exporter_of(PyObject* object) {
  const array_object* array = as_array(object);
  if (!array->dtype.is_packed()) return exporter_of_elements(object);
  if (array->view().is_c_contiguous()) return exporter_of_bytes(object);
  const std::string text = "the bytes of packed " + array->dtype.name() +
                           " can only be offered when they are dense; make the array contiguous "
                           "in the producer";
  raise_refusal(state().exchange_error, text, {{reason_code::layout, text}});
  return {};
}

// ---- pickling --------------------------------------------------------------------------------

ref as_contiguous(PyObject* object) noexcept {
  requirements wanted;
  wanted.c_order = true;
  return ref::steal(convert(object, array_target(), wanted));
}

// Out of band when the protocol can; below it a copy that comes back as writable as it went.
ref picklable_bytes(PyObject* array, long protocol) noexcept {
  const ref exporter = exporter_of_bytes(array);
  if (!exporter) return {};
  if (protocol >= 5) return ref::steal(PyPickleBuffer_FromObject(exporter.get()));
  if (as_array(array)->read_only) return ref::steal(PyBytes_FromObject(exporter.get()));
  return ref::steal(PyByteArray_FromObject(exporter.get()));
}

bool read_type(int code, int bits, int lanes, dtype& out) noexcept {
  const bool fits = 0 <= code && code <= UINT8_MAX && 0 <= bits && bits <= UINT8_MAX &&
                    0 <= lanes && lanes <= UINT16_MAX;
  if (fits) out = dtype(static_cast<DLDataTypeCode>(code), bits, lanes);
  if (fits && id_of(out) != dtype_id::unknown) return true;
  PyErr_SetString(PyExc_ValueError, "the pickled element type is not known to this version");
  return false;
}

// Whether the bytes are those of a shape that an array can have; negative axes are none.
bool fits_shape(const Py_buffer& bytes, extent* shape, int ndim, dtype type) noexcept {
  const DLTensor tensor{bytes.buf, device(), ndim, type, shape, nullptr, 0};
  const tensor_view elements(bytes.buf, shape, nullptr, ndim, type);
  const bool fits = validate(tensor) == defect::none && elements.nbytes() == bytes.len;
  if (!fits) PyErr_SetString(PyExc_ValueError, "the pickled bytes do not fit the shape");
  return fits;
}

}  // namespace

bool initialize_exporter_type() noexcept {
  static PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("Offers the elements of an Array to the buffer protocol.")},
      {Py_tp_dealloc, reinterpret_cast<void*>(exporter_dealloc)},
      {Py_bf_getbuffer, reinterpret_cast<void*>(exporter_get_buffer)},
      {0, nullptr}};
  static PyType_Spec spec = {
      "dlpack_bridge._Exporter", static_cast<int>(offsetof(exporter_object, extents)),
      sizeof(Py_ssize_t),
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
  exporter_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return exporter_type != nullptr;
}

PyObject* array_memoryview(PyObject* self, PyObject*) {
  if (!check_on_host(self, "pass dlpack_bridge.asarray(x, device=\"cpu\").memoryview()")) {
    return nullptr;
  }
  const ref exporter = exporter_of(self);
  return exporter ? PyMemoryView_FromObject(exporter.get()) : nullptr;
}

PyObject* array_tobytes(PyObject* self, PyObject*) {
  if (!check_on_host(self, "pass dlpack_bridge.asarray(x, device=\"cpu\").tobytes()")) {
    return nullptr;
  }
  const ref dense = as_contiguous(self);
  const ref exporter = dense ? exporter_of_bytes(dense.get()) : ref();
  return exporter ? PyBytes_FromObject(exporter.get()) : nullptr;
}

PyObject* array_reduce_ex(PyObject* self, PyObject* protocol_object) {
  const long protocol = PyLong_AsLong(protocol_object);
  if (protocol == -1 && PyErr_Occurred()) return nullptr;
  if (!check_on_host(self, "pickle dlpack_bridge.asarray(x, device=\"cpu\")")) return nullptr;
  const ref dense = as_contiguous(self);
  const ref bytes = dense ? picklable_bytes(dense.get(), protocol) : ref();
  const ref module = bytes ? ref::steal(PyImport_ImportModule("dlpack_bridge")) : ref();
  if (!module) return nullptr;
  const ref rebuild = ref::steal(PyObject_GetAttrString(module.get(), "_rebuild_array"));
  const array_object* array = as_array(dense.get());
  const ref shape = tuple_of(array->shape(), array->ndim);
  if (!rebuild || !shape) return nullptr;
  return Py_BuildValue("O(O(iii)OO)", rebuild.get(), bytes.get(), array->dtype.code,
                       array->dtype.bits, array->dtype.lanes, shape.get(),
                       as_array(self)->read_only ? Py_True : Py_False);
}

PyObject* rebuild_array(PyObject*, PyObject* args) {
  PyObject *buffer, *shape;
  int code, bits, lanes, read_only;
  if (!PyArg_ParseTuple(args, "O(iii)O!p", &buffer, &code, &bits, &lanes, &PyTuple_Type, &shape,
                        &read_only)) {
    return nullptr;
  }
  extent extents[most_held_axes];
  dtype type;
  if (!read_type(code, bits, lanes, type)) return nullptr;
  owner keep;
  const Py_buffer* const view = borrow_buffer(buffer, PyBUF_SIMPLE, keep);
  if (view == nullptr) return nullptr;
  const int ndim = read_extents(shape, extents);
  if (!fits_shape(*view, extents, ndim, type)) return nullptr;
  const tensor_view elements(view->buf, extents, nullptr, ndim, type, {},
                             read_only != 0 || view->readonly != 0);
  ref made = make_array(elements, std::move(keep), false);
  const auto address = reinterpret_cast<std::uintptr_t>(view->buf);
  if (!made || address % static_cast<std::uintptr_t>(alignment_of(type)) == 0) {
    return made.release();
  }
  // Who loads chooses where the buffers lie: elements are not left at an address that is not theirs.
  ref aligned = fresh_copy(made.get());
  if (aligned) as_array(aligned.get())->read_only = read_only != 0;
  return aligned.release();
}

}  // namespace dlpack_bridge::python
