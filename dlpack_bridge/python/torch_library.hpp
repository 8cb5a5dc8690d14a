#pragma once

#include <cstdint>

#include <dlpack_bridge/python/descriptor.hpp>
#include <dlpack_bridge/python/object.hpp>
#include <dlpack_bridge/python/road.hpp>
#include <dlpack_bridge/python/torch_functions.hpp>

namespace dlpack_bridge::python {

/// What the hub has looked up in torch, once, when torch was first seen. Torch is never unloaded.
struct torch_library {
  PyObject* module = nullptr;
  PyTypeObject* tensor = nullptr;
  PyTypeObject* parameter = nullptr;      ///< torch.nn.Parameter
  PyObject* disabled_dispatch = nullptr;  ///< what a plain type has as __torch_dispatch__
  PyObject* count_modes = nullptr;        ///< torch._C._len_torch_function_stack
  PyObject* disable_function = nullptr;   ///< torch._C.DisableTorchFunction, a context manager
  PyObject* int8 = nullptr;
  PyObject* uint8 = nullptr;
  const DLPackExchangeAPI* api = nullptr;  ///< null before torch 2.10
  torch_functions functions;
  // The methods that are asked where those functions cannot be used.
  getter requires_grad;
  getter dtype;
  no_argument_method is_neg;
  no_argument_method is_conj;
};

/// The library; empty until `load_torch` has succeeded. Changed by that alone, and by `functions` when
/// they are proven.
extern torch_library loaded_torch;
inline const torch_library& torch_lib() noexcept { return loaded_torch; }

/// Looks everything up. False when the module is no torch.
bool load_torch(PyObject* module) noexcept;

/// The answer of a check of the tensor's own: no function of a subclass or a mode is asked.
enum class check_answer : std::uint8_t { no, yes, failed };

/// Asks through `torch._C.DisableTorchFunction`, which costs microseconds: for subclasses that
/// override `__torch_function__`, and again when a plain answer failed. `failed` leaves the error set.
class without_torch_function {
 public:
  without_torch_function() noexcept;
  without_torch_function(const without_torch_function&) = delete;
  without_torch_function& operator=(const without_torch_function&) = delete;
  ~without_torch_function();

 private:
  ref context_;
};

/// True for nn.Parameter while no TorchFunctionMode is active.
bool is_plain_parameter(PyTypeObject* type) noexcept;

/// True when checks may ask objects of the type directly.
inline bool answers_plainly(PyTypeObject* type) noexcept {
  return type == torch_lib().tensor || is_plain_parameter(type);
}

/// A question to the method of a tensor.
template <class Method>
[[gnu::noinline]] check_answer ask_method(const Method& method, PyObject* tensor) noexcept {
  if (answers_plainly(Py_TYPE(tensor))) {
    const ref answer = method(tensor);
    if (answer.get() == Py_False) return check_answer::no;
    if (answer.get() == Py_True) return check_answer::yes;
    if (!answer && !PyErr_ExceptionMatches(PyExc_Exception)) return check_answer::failed;
    PyErr_Clear();  // a TorchFunctionMode was in the way
  }
  const without_torch_function plain;
  const ref answer = method(tensor);
  if (answer.get() == Py_True) return check_answer::yes;
  return answer ? check_answer::no : check_answer::failed;
}

/// A question to a tensor: `Function` of `torch_functions`, or the method where that cannot be used.
template <auto Function, class Method>
inline check_answer ask(const Method& method, PyObject* tensor) noexcept {
  torch_functions& functions = loaded_torch.functions;
  if (functions.proven() || functions.prove(loaded_torch.module, loaded_torch.tensor)) [[likely]] {
    return (functions.*Function)(tensor) ? check_answer::yes : check_answer::no;
  }
  return PyErr_Occurred() ? check_answer::failed : ask_method(method, tensor);
}

/// Whether autograd records in this thread.
bool grad_mode() noexcept;

/// Shape, dtype and device of a tensor for a message, without reading a pointer.
[[gnu::cold]] void describe_surface(inbound& in);

/// Names what keeps a tensor from being exported: sparse, quantized, ... Call with the error of the
/// export pending, or with none when it gave a NULL pointer. False when the error must pass through.
[[gnu::cold]] bool describe_unexportable(inbound& in);

}  // namespace dlpack_bridge::python
