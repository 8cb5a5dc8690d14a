#pragma once

#include <cstddef>
#include <cstdint>

#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/python/object.hpp>

namespace dlpack_bridge::python {

/// torch's compiled functions behind what the hub asks every tensor. The methods of the same names cost
/// ten times as much: they parse arguments, look for modes, and give the GIL away and take it back.
///
/// libtorch exports them under names that hold their parameters, or as a C interface. They are used when,
/// for tensors made for that, the questions have given the answers of the methods, each yes and no, and an
/// alias could be made and dropped; else never.
class torch_functions {
 public:
  /// Looks the functions up in what `torch._C` was linked with.
  void load(PyObject* c_module) noexcept;

  /// Whether what follows may be called.
  bool proven() const noexcept { return handle_at_ != 0; }
  /// Tries to prove the functions, unless that has failed before: while a mode intercepts what torch
  /// dispatches, nothing is tried. False with an error set only for an interrupt and its like.
  bool prove(PyObject* torch, PyTypeObject* tensor_type) noexcept;

  // For any instance of torch.Tensor: its own state, whatever a subclass or a mode would say.
  bool requires_grad(PyObject* tensor) const noexcept { return requires_grad_(*handle(tensor)); }
  bool is_neg(PyObject* tensor) const noexcept { return is_neg_(handle(tensor)); }
  bool is_conj(PyObject* tensor) const noexcept { return is_conj_(handle(tensor)); }
  /// True for torch.int8 and torch.uint8, and false for torch's integers of 1 to 7 bits.
  bool is_whole_byte(PyObject* tensor) const noexcept {
    std::int32_t code = -1;
    return get_dtype_(handle(tensor), &code) == 0 && (code == int8_ || code == uint8_);
  }
  /// Keeps the memory that the tensor has now, whatever becomes of the tensor: an alias of it in libtorch.
  /// Empty when there is no memory for one. The alias may be dropped on any thread.
  owner hold_memory(PyObject* tensor) const noexcept;

 private:
  // An at::Tensor is one pointer, to its implementation.
  using at_tensor = void*;

  at_tensor* handle(PyObject* tensor) const noexcept {
    return reinterpret_cast<at_tensor*>(reinterpret_cast<char*>(tensor) + handle_at_);
  }
  bool dispatch_is_intercepted() const noexcept;
  bool makes_an_alias(PyObject* tensor) const noexcept;
  bool give_the_answers_of(PyObject* samples) const noexcept;

  // Where a tensor object has its at::Tensor; 0 while nothing is proven.
  std::size_t handle_at_ = 0;
  int attempts_left_ = 0;
  PyObject* count_modes_ = nullptr;  // torch._C._len_torch_dispatch_stack, kept for ever
  bool (*requires_grad_)(const void* implementation) = nullptr;
  bool (*is_neg_)(const at_tensor*) = nullptr;
  bool (*is_conj_)(const at_tensor*) = nullptr;
  std::int32_t (*get_dtype_)(at_tensor*, std::int32_t* code) = nullptr;
  std::int32_t (*reinterpret_)(at_tensor*, std::int64_t ndim, const std::int64_t* shape,
                               const std::int64_t* strides, std::int64_t offset,
                               at_tensor** made) = nullptr;
  std::int32_t int8_ = -1;
  std::int32_t uint8_ = -1;
};

}  // namespace dlpack_bridge::python
