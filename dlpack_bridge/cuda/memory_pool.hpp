#pragma once

#include <dlpack_bridge/cuda/driver.hpp>

namespace dlpack_bridge::cuda {

/// The hub's own pool of a device's memory, which keeps what is freed into it and which every device
/// reaches that can. Null for a device without pools. Made by the first call, without harm to a
/// capture of any other stream, and never destroyed.
/// @throws cuda_error
CUmemoryPool memory_pool_of(const driver_api& api, int device);

/// Gives back to the driver what lies unused in the pools: what was freed there and has been waited
/// for, by whomever. Does not wait for the rest.
void trim_pools(const driver_api& api) noexcept;

}  // namespace dlpack_bridge::cuda
