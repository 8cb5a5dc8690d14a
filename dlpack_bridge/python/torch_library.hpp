#pragma once

#include <dlpack_bridge/python/object.hpp>

#include <string>

#include <dlpack_bridge/python/descriptor.hpp>
#include <dlpack_bridge/python/road.hpp>

namespace dlpack_bridge::python {

/// What the hub has looked up in torch, once, when torch was first seen. Torch is never unloaded.
struct torch_library {
  PyObject* module = nullptr;
  PyTypeObject* tensor = nullptr;
  PyObject* disabled_dispatch = nullptr;  ///< what a plain type has as __torch_dispatch__
  PyObject* int8 = nullptr;
  PyObject* uint8 = nullptr;
  const DLPackExchangeAPI* api = nullptr;  ///< null before torch 2.10
  getter requires_grad;
  getter dtype;
  no_argument_method is_neg;
  no_argument_method is_conj;
};

/// The library; empty until `load_torch` has succeeded.
const torch_library& torch_lib() noexcept;

/// Looks everything up. False when the module is no torch.
bool load_torch(PyObject* module) noexcept;

/// The answer of a check; an error counts as no and is cleared.
bool is_true(ref answer) noexcept;

/// `str(object)`, or "unknown"; never leaves an error set.
std::string words(PyObject* object) noexcept;

/// Whether autograd records in this thread.
bool grad_mode() noexcept;

/// Shape, dtype and device of a tensor for a message, without reading a pointer.
void describe_surface(inbound& in);

/// Names what keeps a tensor from being exported: sparse, quantized, ... Call with the error of the
/// export pending, or with none when it gave a NULL pointer. False when the error must pass through.
bool describe_unexportable(inbound& in);

}  // namespace dlpack_bridge::python
