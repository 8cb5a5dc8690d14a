#include <dlpack_bridge/python/jax.hpp>

#include <optional>

#include <dlpack_bridge/python/buffer.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/source.hpp>

namespace dlpack_bridge::python {
namespace {

// The number of axes of `x.shape`, with the extents in `out`; -1 with an error set.
int read_shape(PyObject* x, extent* out) noexcept {
  const ref shape = ref::steal(PyObject_GetAttrString(x, "shape"));
  if (!shape) return -1;
  if (!PyTuple_Check(shape.get()) || PyTuple_GET_SIZE(shape.get()) > 64) {
    PyErr_SetString(PyExc_TypeError, "shape is no tuple of at most 64 ints");
    return -1;
  }
  const auto count = static_cast<int>(PyTuple_GET_SIZE(shape.get()));
  for (int i = 0; i < count; ++i) {
    out[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.get(), i));
    if (out[i] == -1 && PyErr_Occurred()) return -1;
  }
  return count;
}

}  // namespace

bool describe_jax_on_host(inbound& in) {
  if (!PyObject_CheckBuffer(in.object)) return false;
  if (describe_lent_buffer(in)) {
    in.row = &buffer_source;
    return true;
  }
  PyErr_Clear();
  return false;
}

bool describe_jax(inbound& in, device where) {
  const int ndim = read_shape(in.object, in.room);
  if (ndim < 0) return in.refuse_producer_error();
  const ref type = ref::steal(PyObject_GetAttrString(in.object, "dtype"));
  const std::optional<dtype> read = type ? dtype_from_object(type.get()) : std::nullopt;
  if (!read) return in.refuse_producer_error();
  in.desc.view =
      tensor_view(nullptr, in.room, nullptr, ndim, *read, where, /*read_only=*/in.entry->immutable);
  describe_layout(in.desc);
  in.desc.streams.producer_unknown = true;
  return true;
}

}  // namespace dlpack_bridge::python
