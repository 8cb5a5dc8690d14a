#pragma once

#include <dlpack_bridge/cuda/block_copy.hpp>
#include <dlpack_bridge/cuda/gather_module.hpp>

namespace dlpack_bridge::cuda {

/// How a copy between places that a device reaches by itself is carried out.
enum class device_road {
  block,   ///< one call of the copy engines
  gather,  ///< the gather kernels
  blocks,  ///< several calls of the copy engines
  none,    ///< nothing on the device can do it
};

/// Pure: the road of a copy, with or without kernels. Precondition: not empty.
device_road road_of(const planned_copy& copy, bool has_kernels) noexcept;

/// Puts a copy on a stream whose device reaches both sides. The context of the stream is current.
/// False, and nothing was done, when there is no road. Does not synchronise.
/// @throws cuda_error
bool copy_on_device(const driver_api& api, const placed_stream& stream, const planned_copy& copy);

}  // namespace dlpack_bridge::cuda
