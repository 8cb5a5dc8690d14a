#pragma once

#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

struct inbound;

/// Refuses a tensor whose elements are objects of TensorFlow's runtime (string, resource, variant): its
/// `__dlpack__` and `to_dlpack` end the process (TensorFlow 2.21, core/framework/tensor.cc). True when it
/// did; what is known of the tensor is described then. `dlpack_device` is the type's method, or null.
bool refuse_objects_of_tensorflow(inbound& in, PyObject* dlpack_device);

/// Whether an object is one of TensorFlow's dtypes, which may not be imported.
bool is_dtype_of_tensorflow(PyObject* object) noexcept;

/// The capsule of a tensor in host memory whose `__dlpack__` is TensorFlow's own: what that gives without
/// reading its keywords, and without asking the runtime where the tensor is, which the capsule says. Empty
/// without an error where it is elsewhere, and where it fails; with one that must pass through.
ref tensorflow_on_host(PyObject* x, PyObject* dlpack) noexcept;

}  // namespace dlpack_bridge::python
