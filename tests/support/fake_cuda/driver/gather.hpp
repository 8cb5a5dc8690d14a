#pragma once

#include <optional>
#include <vector>

#include "work.hpp"
#include <dlpack_bridge/cuda/gather.hpp>

namespace fake_cuda {

/// What a launch reads and writes: each element's bytes, those side by side as one range; as one
/// range in all when there are very many elements.
std::vector<touched> gather_ranges(const dlpack_bridge::cuda::gather_arguments& a);

/// Why the kernels could not do it; null when they can.
const char* gather_fault(const dlpack_bridge::cuda::gather_arguments& a, bool moves_only);

/// Does on the host what the kernels do on a device.
void gather(const dlpack_bridge::cuda::gather_arguments& a);

}  // namespace fake_cuda
