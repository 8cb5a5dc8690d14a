#pragma once

#include <dlpack_bridge/device_backend.hpp>

namespace dlpack_bridge::cuda {

/// See `device_backend::copy`. By what the memory is:
///
/// * Device, managed and pinned memory: puts one call on the stream (copy engine or gather kernel)
///   and returns true. Between two devices layouts and types change on the one it comes from.
/// * From pageable memory: returns true once the source may change; the device may still be at it.
/// * To pageable memory: returns false, and all of the result is there.
/// * On the host alone: returns false.
///
/// Memory that is labelled as the CPU's is pinned when the driver knows it; a label that says
/// pinned is not believed without asking. Where there are no gather kernels (a build without nvcc,
/// a chip or driver that they are not for) what the copy engines cannot do goes through the host,
/// and blocks it.
/// @throws exchange_error `capture`: a copy from another device that is not plain, on a capturing
///   stream
/// @throws cuda_error
/// @throws std::invalid_argument as the core's `copy` does
/// @throws std::bad_alloc
bool copy(const copy_job& job);

}  // namespace dlpack_bridge::cuda
