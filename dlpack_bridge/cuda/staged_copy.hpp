#pragma once

#include <dlpack_bridge/cuda/placement.hpp>
#include <dlpack_bridge/cuda/planned_copy.hpp>

// Copies between a device and host memory that it does not reach by itself, and copies that need
// the CPU: through pinned chunks, of which the device fills or empties one while the CPU works on
// another. Layouts change on the device where it has kernels; types are converted on the side that
// makes less to transfer. The context of the stream is current.
namespace dlpack_bridge::cuda {

/// Copies from host memory. When this returns the source may change; the device may still be at it.
/// Blocks the host while the CPU works, and while more chunks are on their way than there should
/// be.
/// @throws cuda_error
/// @throws std::bad_alloc
void copy_from_host(const driver_api& api, const placed_stream& stream, const planned_copy& copy);

/// Copies to host memory. When this returns all of it is there. Blocks the host.
/// @throws cuda_error
/// @throws std::bad_alloc
void copy_to_host(const driver_api& api, const placed_stream& stream, const planned_copy& copy);

}  // namespace dlpack_bridge::cuda
