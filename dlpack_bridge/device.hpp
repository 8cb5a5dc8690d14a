#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <dlpack/dlpack.h>

namespace dlpack_bridge {

/// Where an array lives: a DLPack device type and an index. Equal to `DLDevice` in content, but
/// never made from two bare ints by accident.
struct device {
  DLDeviceType type = kDLCPU;
  std::int32_t id = 0;

  constexpr device() noexcept = default;
  constexpr explicit device(DLDeviceType device_type, std::int32_t device_id = 0) noexcept
      : type(device_type), id(device_id) {}
  constexpr device(DLDevice d) noexcept : type(d.device_type), id(d.device_id) {}
  constexpr operator DLDevice() const noexcept { return {type, id}; }

  friend constexpr bool operator==(device, device) noexcept = default;

  /// "cpu", "cuda_host", "cuda:1"; "device(42):0" for a type this version has no name for.
  std::string name() const;

  /// Reads "cpu", "cuda", "cuda:1", "cuda_host", ...; empty when the text names no device.
  /// "cuda" is index 0.
  static std::optional<device> from_name(std::string_view text) noexcept;
};

/// What `DLTensor::data` is on a device type, and who may read it.
enum class memory_kind : std::uint8_t {
  host,     ///< ordinary or pinned host memory: the CPU reads it as it is
  managed,  ///< CPU and GPU read it; the CPU only after the writers have finished
  device,   ///< a pointer that only the device may follow
  handle,   ///< an opaque object: no pointer arithmetic, `byte_offset` stays beside it
  unknown,  ///< a device type this version does not know: never dereferenced
};

memory_kind memory_kind_of(DLDeviceType type) noexcept;

/// True for memory that the CPU may read without asking anyone.
inline bool is_host_memory(DLDeviceType type) noexcept {
  return type == kDLCPU || memory_kind_of(type) == memory_kind::host;
}

/// True for devices of a CUDA driver: kDLCUDA, and kDLCUDAManaged.
constexpr bool needs_cuda(DLDeviceType type) noexcept {
  return type == kDLCUDA || type == kDLCUDAManaged;
}

}  // namespace dlpack_bridge
