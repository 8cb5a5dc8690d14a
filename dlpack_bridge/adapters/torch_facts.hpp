#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include <dlpack_bridge/negotiation.hpp>

namespace dlpack_bridge {
namespace [[gnu::visibility("hidden")]] torch_adapter {

/// What a tensor is, as `negotiate` wants to know it, with the texts that the description looks at.
/// Shape and strides are borrowed from the tensor.
struct tensor_facts {
  description desc;
  std::string note;
  std::string dtype_name;

  tensor_facts() = default;
  tensor_facts(const tensor_facts&) = delete;
  tensor_facts& operator=(const tensor_facts&) = delete;

  /// Adds a state that refuses the tensor, with what there is to say.
  void refuse(reason_code code, const std::string& text);
  /// Names an element type that DLPack lacks.
  void name_dtype(std::string name);
  /// Forgets what could not be read to the end.
  void know_nothing();
};

/// Looks at a tensor: what it refuses to be asked counts as its refusal. The states and their words
/// are those of dlpack_bridge/python/torch.cpp.
/// @throws std::bad_alloc
void describe_tensor(const at::Tensor& tensor, const requirements& wanted, tensor_facts& facts);

}  // namespace torch_adapter
}  // namespace dlpack_bridge
