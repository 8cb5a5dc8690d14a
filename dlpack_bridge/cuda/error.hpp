#pragma once

#include <dlpack_bridge/error.hpp>

namespace dlpack_bridge::cuda {

/// A call of the CUDA driver failed. The text names the call, its device and stream, and what the
/// driver said; `name()` is the driver's name of the code.
class cuda_error : public device_error {
 public:
  using device_error::device_error;

  /// The `CUresult`.
  int status() const noexcept { return code(); }
};

}  // namespace dlpack_bridge::cuda
