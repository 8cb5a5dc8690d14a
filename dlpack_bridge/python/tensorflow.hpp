#pragma once

#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// Whether TensorFlow says that its tensor is in host memory. `__dlpack_device__` asks the runtime, which
/// costs ten times as much. False with an error set when that must pass through.
bool tensorflow_says_host(PyObject* x) noexcept;

/// `tf.experimental.dlpack.to_dlpack`, borrowed, where `dlpack` is the `__dlpack__` of TensorFlow's own
/// tensors: what that calls when it has read its keywords. Null without an error where it is another.
PyObject* tensorflow_to_dlpack(PyObject* dlpack) noexcept;

}  // namespace dlpack_bridge::python
