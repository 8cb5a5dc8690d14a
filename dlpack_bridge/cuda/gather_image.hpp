#pragma once

namespace dlpack_bridge::cuda {

/// The gather kernels as the driver loads them (`cuLibraryLoadData`); null in a build without nvcc.
const void* gather_image() noexcept;

}  // namespace dlpack_bridge::cuda
