#pragma once

#include <optional>
#include <string>

#include <c10/core/ScalarType.h>

#include <dlpack_bridge/dtype.hpp>

// Element types between torch and DLPack. Which of them a torch has, and under which number, depends
// on its version: they are found by name.

namespace dlpack_bridge {
namespace [[gnu::visibility("hidden")]] torch_adapter {

/// The DLPack type of a scalar type; empty when DLPack has none (quantized, `bits8`, ...).
std::optional<dtype> dtype_of_scalar(c10::ScalarType type);

/// The scalar type of a DLPack type; empty when this torch has none.
std::optional<c10::ScalarType> scalar_of_dtype(dtype type);

/// `int1` to `int7` and `uint1` to `uint7`: the type with its real width, which no hub type has. torch
/// itself would export 8 bits.
std::optional<dtype> narrow_integer(c10::ScalarType type);

/// As Python writes it: "torch.float32", "torch.quint8".
std::string python_name(c10::ScalarType type);

}  // namespace torch_adapter
}  // namespace dlpack_bridge
