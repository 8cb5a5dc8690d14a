#include <dlpack_bridge/python/jax.hpp>

#include <optional>

#include <dlpack_bridge/python/buffer.hpp>
#include <dlpack_bridge/python/dtype_object.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

// Describes an array in host memory by its buffer: the memory that `__dlpack__` gives, in a quarter of the
// time, since no Python runs. Not memory of a device, elements that only ml_dtypes has, layouts of its own,
// several shards, an array that was deleted or is still being computed: JAX 0.10.2 waits for the latter
// without the GIL, and ends the process when another thread deletes it meanwhile.
shortcut describe_jax_on_host(inbound& in, PyObject*, PyObject*) {
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
  if (lends || !PyErr_Occurred()) return lends ? shortcut::described : shortcut::none;
  if (!is_answer_error()) return shortcut::failed;
  PyErr_Clear();
  return shortcut::none;
}

// Describes an array on a GPU by its attributes: its `__dlpack__` takes -1 for a stream and every other
// number for an order.
bool describe_jax_on_device(inbound& in, device where) {
  const int ndim = read_shape(in.object, in.shape_room);
  if (ndim < 0) {
    PyErr_SetString(PyExc_TypeError, "shape is no tuple of at most 64 ints");
    return in.refuse_producer_error();
  }
  const ref type = ref::steal(PyObject_GetAttrString(in.object, "dtype"));
  const std::optional<dtype> read = type ? dtype_from_object(type.get()) : std::nullopt;
  if (!read) return in.refuse_producer_error();
  in.desc.view =
      tensor_view(nullptr, in.shape_room, nullptr, ndim, *read, where, /*read_only=*/true);
  describe_layout(in.desc);
  in.desc.streams.producer_unknown = true;
  return true;
}

// The host, where an array says that all of it is there: it may be in several parts.
std::optional<device> find_jax_on_host(PyObject* x) noexcept {
  const ref devices = ref::steal(PyObject_CallMethod(x, "devices", nullptr));
  const ref all = devices ? ref::steal(PySequence_Tuple(devices.get())) : ref();
  bool on_host = all && PyTuple_GET_SIZE(all.get()) > 0;
  for (Py_ssize_t i = 0; on_host && i < PyTuple_GET_SIZE(all.get()); ++i) {
    const ref platform = attribute_or_none(PyTuple_GET_ITEM(all.get(), i), "platform");
    on_host = platform && PyUnicode_Check(platform.get()) &&
              PyUnicode_CompareWithASCIIString(platform.get(), "cpu") == 0;
  }
  PyErr_Clear();
  return on_host ? std::optional(device()) : std::nullopt;
}

}  // namespace

// `__dlpack__` takes -1 for a stream's handle; `__dlpack_device__` of an
// array that was deleted or is traced raises, and `__dlpack__` says better why.
constinit const producer_row jax_producer{
    .id = framework::jax,
    .takes_no_sync = false,
    .device_may_fail = true,
    .ask_first = describe_jax_on_host,
    .look_at_device = describe_jax_on_device,
    .find_device = find_jax_on_host,
};

bool jax_has_x64() noexcept {
  static PyObject* const enable_x64 = PyUnicode_InternFromString("jax_enable_x64");
  PyObject* const jax = loaded_module("jax");
  const ref config = jax != nullptr ? attribute_or_none(jax, "config") : ref();
  const ref value = config ? ref::steal(PyObject_GetAttr(config.get(), enable_x64)) : ref();
  if (!value) PyErr_Clear();
  return value.get() == Py_True;
}

}  // namespace dlpack_bridge::python
