#pragma once

#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

// What the hub knows of TensorFlow beside its rows (producer.hpp, dlpack_targets.hpp).

/// Whether an object is one of TensorFlow's dtypes, which may not be imported.
bool is_dtype_of_tensorflow(PyObject* object) noexcept;

/// Calls `tf.experimental.dlpack.from_dlpack`, with a capsule: what it calls itself, where it does what it
/// does in TensorFlow 2.21, else the function. A new reference, or null with its error set.
PyObject* call_from_dlpack_of_tensorflow(PyObject* function, PyObject* capsule) noexcept;

}  // namespace dlpack_bridge::python
