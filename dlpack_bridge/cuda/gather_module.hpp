#pragma once

#include <dlpack_bridge/cuda/gather_launch.hpp>
#include <dlpack_bridge/cuda/placement.hpp>

namespace dlpack_bridge::cuda {

/// The gather kernels in one context.
struct gather_kernels {
  CUfunction gather = nullptr;
  CUfunction move = nullptr;

  /// False: this build has none, or none for the chip.
  explicit operator bool() const noexcept { return gather != nullptr; }
};

/// The kernels for a stream's context. The first call of the process loads the image, and the first
/// for a device the kernels into it: the driver loads code when it is first used, and may wait for
/// all work of the context then while the calls of other threads wait. So ask only for what will be
/// launched, and not with the GIL. Later calls do not synchronise.
/// @throws cuda_error
gather_kernels kernels_for(const driver_api& api, const placed_stream& stream);

/// Carries a copy out in the order of a stream. Every address must be one that the stream's device
/// reaches. Does not synchronise, save that a first launch may finish the loading.
/// @throws cuda_error
void launch_gather(const driver_api& api, const gather_kernels& kernels,
                   const placed_stream& stream, planned_copy copy);

}  // namespace dlpack_bridge::cuda
