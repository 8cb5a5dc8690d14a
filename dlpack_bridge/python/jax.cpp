#include <dlpack_bridge/python/jax.hpp>

#include <optional>

#include <dlpack_bridge/python/buffer.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
jax_buffer describe_jax_on_host(inbound& in) {
  static PyObject* const is_deleted = PyUnicode_InternFromString("is_deleted");
  static PyObject* const is_ready = PyUnicode_InternFromString("is_ready");
  const auto says = [&in](PyObject* question, PyObject* expected) {
    const ref answer = ref::steal(PyObject_CallMethodNoArgs(in.object, question));
    return answer.get() == expected;
  };
  // In this order: is_ready() of a deleted array ends the process, as its platform() does.
  const bool lends = PyObject_CheckBuffer(in.object) && says(is_deleted, Py_False) &&
                     says(is_ready, Py_True) && describe_lent_buffer(in);
  if (lends) in.row = &buffer_source;
  if (lends || !PyErr_Occurred()) return lends ? jax_buffer::described : jax_buffer::none;
  if (!is_answer_error()) return jax_buffer::failed;
  PyErr_Clear();
  return jax_buffer::none;
}

bool describe_jax(inbound& in, device where) {
  const bool immutable = in.entry->immutable;  // before foreign code can run
  const int ndim = read_shape(in.object, in.room);
  if (ndim < 0) {
    PyErr_SetString(PyExc_TypeError, "shape is no tuple of at most 64 ints");
    return in.refuse_producer_error();
  }
  const ref type = ref::steal(PyObject_GetAttrString(in.object, "dtype"));
  const std::optional<dtype> read = type ? dtype_from_object(type.get()) : std::nullopt;
  if (!read) return in.refuse_producer_error();
  in.desc.view =
      tensor_view(nullptr, in.room, nullptr, ndim, *read, where, /*read_only=*/immutable);
  describe_layout(in.desc);
  in.desc.streams.producer_unknown = true;
  return true;
}

bool is_on_host_in_jax(PyObject* x) noexcept {
  const ref devices = ref::steal(PyObject_CallMethod(x, "devices", nullptr));
  const ref all = devices ? ref::steal(PySequence_Tuple(devices.get())) : ref();
  bool on_host = all && PyTuple_GET_SIZE(all.get()) > 0;
  for (Py_ssize_t i = 0; on_host && i < PyTuple_GET_SIZE(all.get()); ++i) {
    const ref platform = attribute_or_none(PyTuple_GET_ITEM(all.get(), i), "platform");
    on_host = platform && PyUnicode_Check(platform.get()) &&
              PyUnicode_CompareWithASCIIString(platform.get(), "cpu") == 0;
  }
  PyErr_Clear();
  return on_host;
}

bool jax_has_x64() noexcept {
  static PyObject* const enable_x64 = PyUnicode_InternFromString("jax_enable_x64");
  PyObject* const jax = loaded_module("jax");
  const ref config = jax != nullptr ? attribute_or_none(jax, "config") : ref();
  const ref value = config ? ref::steal(PyObject_GetAttr(config.get(), enable_x64)) : ref();
  if (!value) PyErr_Clear();
  return value.get() == Py_True;
}

}  // namespace dlpack_bridge::python
