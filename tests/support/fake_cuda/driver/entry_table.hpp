#pragma once

#include <span>
#include <string_view>

namespace fake_cuda {

/// A function under one of its ABIs, as `cuGetProcAddress` knows it.
struct entry_row {
  std::string_view name;
  int since;  ///< the CUDA version that brought this ABI
  void* function;
};

/// Every function of the driver, by name and version.
std::span<const entry_row> entries();

/// The names, sorted, each once.
std::span<const std::string_view> entry_names();

/// The version that `cuDriverGetVersion` tells; later entries do not exist.
int driver_version();

}  // namespace fake_cuda
