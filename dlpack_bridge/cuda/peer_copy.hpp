#pragma once

#include <dlpack_bridge/cuda/placement.hpp>
#include <dlpack_bridge/cuda/planned_copy.hpp>
#include <dlpack_bridge/device_backend.hpp>

namespace dlpack_bridge::cuda {

/// Copies between two CUDA devices in the order of `stream`, a stream of `to`. What is not plain
/// bytes is gathered and converted on the device it comes from, on the hub's own stream there,
/// which is ordered between what is on `stream` before and after. False, and nothing was done, when
/// that needs kernels and there are none. Does not synchronise.
/// @throws exchange_error `capture`: `stream` captures, and the other device's would have to join
/// @throws cuda_error
bool copy_between_devices(const driver_api& api, const planned_copy& copy, device from, device to,
                          stream_handle stream);

}  // namespace dlpack_bridge::cuda
