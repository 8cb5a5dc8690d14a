#pragma once

#include <cstdint>

#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/owner.hpp>

namespace dlpack_bridge {

/// Memory of a backend with what frees it.
struct backend_memory {
  void* data = nullptr;
  owner keep;
};

/// What the road needs from a kind of device: facts for the decision, memory, and copies. The core
/// holds the host's; `cuda/` holds the other, and the binary that links both hands it in.
struct device_backend {
  /// Whether the device can be used at all; no backend call is made when it cannot.
  bool (*available)() noexcept;
  /// At least one byte, its address a multiple of `alignment` (a power of two).
  /// @throws std::bad_alloc
  backend_memory (*allocate)(std::int64_t nbytes, std::int64_t alignment, device where);
  /// Copies and converts; both sides are reachable by this backend.
  void (*copy)(const extent* shape, std::int32_t ndim, const strided_memory& from,
               const strided_memory& to, element_change change);
};

/// Memory of malloc, copies of `copy.hpp`.
const device_backend& host_backend() noexcept;

/// The backend for CUDA devices; null in a build without one.
const device_backend* cuda_backend() noexcept;
/// Hands in the CUDA backend. Call once, before the first exchange.
void use_cuda_backend(const device_backend& backend) noexcept;

}  // namespace dlpack_bridge
