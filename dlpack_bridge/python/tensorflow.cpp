#include <dlpack_bridge/python/tensorflow.hpp>

#include <dlpack_bridge/python/capsule.hpp>

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

}  // namespace

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
