#pragma once

#include <dlpack_bridge/cuda/block_copy.hpp>
#include <dlpack_bridge/cuda/placement.hpp>

namespace dlpack_bridge::cuda {

/// Puts a copy on a stream as one call of the driver's copy engines; which memory it goes between
/// is told by the addresses. The context of the stream is current. Blocks the host where one side
/// is pageable host memory.
/// @throws cuda_error
void put_block(const driver_api& api, const placed_stream& stream, const block_copy& block);

/// The two devices of a copy between devices.
struct device_pair {
  CUcontext from, to;
};

/// The same between devices. Does not synchronise.
void put_peer_block(const driver_api& api, const placed_stream& stream, const device_pair& devices,
                    const block_copy& block);

/// Lets copies between two devices go the short way, where there is one. Once per pair.
void enable_peer_access(const driver_api& api, int from, int to, const device_pair& devices);

/// The largest step from row to row that the engines take; every device has the same.
inline constexpr extent most_row = 0x7fffffff;

}  // namespace dlpack_bridge::cuda
