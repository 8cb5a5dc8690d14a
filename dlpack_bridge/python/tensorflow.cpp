#include <dlpack_bridge/python/tensorflow.hpp>

#include <algorithm>
#include <iterator>
#include <optional>

#include <dlpack_bridge/python/capsule.hpp>
#include <dlpack_bridge/python/dlpack_call.hpp>
#include <dlpack_bridge/python/source.hpp>
#include <dlpack_bridge/python/values.hpp>

namespace dlpack_bridge::python {
namespace {

// `tf.experimental.dlpack.to_dlpack`, borrowed, where `dlpack` is the method of TensorFlow's own tensors,
// which calls it; else null without an error.
PyObject* function_behind(PyObject* dlpack) noexcept {
  static PyObject *own = nullptr, *function = nullptr;
  if (function != nullptr) return dlpack == own ? function : nullptr;
  PyObject* const ops = loaded_module("tensorflow.python.framework.ops");
  const ref type = ops != nullptr ? attribute_or_none(ops, "EagerTensor") : ref();
  const ref method = type ? attribute_or_none(type.get(), "__dlpack__") : ref();
  if (!method || method.get() != dlpack) return nullptr;
  PyObject* const module = loaded_module("tensorflow.python.dlpack.dlpack");
  function = module != nullptr ? attribute_or_none(module, "to_dlpack").release() : nullptr;
  if (function != nullptr) own = ref::borrow(dlpack).release();
  return function;
}

// The number of a tensor's element type in TensorFlow's own count; 0 when it does not tell.
long type_number(PyObject* x) noexcept {
  static PyObject* const quick = PyUnicode_InternFromString("_datatype_enum");
  ref number = ref::steal(PyObject_CallMethodNoArgs(x, quick));
  if (!number) {
    PyErr_Clear();
    const ref type = attribute_or_none(x, "dtype");
    if (type) number = attribute_or_none(type.get(), "as_datatype_enum");
  }
  return number && PyLong_Check(number.get()) ? PyLong_AsLong(number.get()) : 0;
}

// DT_STRING, DT_RESOURCE and DT_VARIANT of core/framework/types.proto.
constexpr long objects[] = {7, 20, 21};

}  // namespace

bool is_dtype_of_tensorflow(PyObject* object) noexcept {
  if (!is_type_named(object, "DType")) return false;
  const ref module = attribute_or_none(reinterpret_cast<PyObject*>(Py_TYPE(object)), "__module__");
  const auto name = module && PyUnicode_Check(module.get()) ? utf8(module.get()) : std::nullopt;
  if (!name) PyErr_Clear();
  return name && name->starts_with("tensorflow.");
}

bool refuse_objects_of_tensorflow(inbound& in, PyObject* dlpack_device) {
  const long number = type_number(in.object);
  const auto* const found = std::ranges::find(objects, number);
  if (found == std::end(objects)) return false;
  constexpr const char* names[] = {"string", "resource", "variant"};
  in.name_dtype(names[found - std::begin(objects)]);
  const int ndim = read_shape(in.object, in.room);
  const std::optional<device> where =
      dlpack_device == nullptr ? std::nullopt : announced_device(dlpack_device, in.object);
  PyErr_Clear();
  in.desc.has_layout = false;
  in.desc.has_device = where.has_value();
  in.desc.view = tensor_view(nullptr, ndim < 0 ? nullptr : in.room, nullptr, std::max(ndim, 0),
                             dtype(), where.value_or(device()), /*read_only=*/true);
  return true;
}

ref tensorflow_on_host(PyObject* x, PyObject* dlpack) noexcept {
  PyObject* const function = function_behind(dlpack);
  if (function == nullptr) return {};
  ref capsule = ref::steal(PyObject_CallOneArg(function, x));
  if (!capsule) {
    if (is_answer_error()) PyErr_Clear();  // asked again by the protocol, which reports it
    return {};
  }
  const DLTensor* const tensor = peek_legacy(capsule.get());
  return tensor != nullptr && tensor->device.device_type == kDLCPU ? std::move(capsule) : ref();
}

}  // namespace dlpack_bridge::python
