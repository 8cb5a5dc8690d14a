#pragma once

#include <bit>
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

  friend constexpr bool operator==(device a, device b) noexcept {
    return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
  }

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

/// The kind of a device type's memory.
constexpr memory_kind memory_kind_of(DLDeviceType type) noexcept {
  switch (type) {
    case kDLCPU:
    case kDLCUDAHost:
    case kDLROCMHost: return memory_kind::host;
    case kDLCUDAManaged: return memory_kind::managed;
    case kDLCUDA:
    case kDLVPI:
    case kDLROCM:
    case kDLExtDev:
    case kDLOneAPI:
    case kDLHexagon:
    case kDLMAIA:
    case kDLTrn: return memory_kind::device;
    case kDLOpenCL:
    case kDLVulkan:
    case kDLMetal:
    case kDLWebGPU: return memory_kind::handle;
  }
  return memory_kind::unknown;
}

/// True for memory that the CPU may read without asking anyone.
constexpr bool is_host_memory(DLDeviceType type) noexcept {
  return memory_kind_of(type) == memory_kind::host;
}

/// True for memory that the CPU can read: managed memory too, which only who has waited may.
constexpr bool cpu_reads(DLDeviceType type) noexcept {
  const memory_kind kind = memory_kind_of(type);
  return kind == memory_kind::host || kind == memory_kind::managed;
}

/// True for devices of a CUDA driver: kDLCUDA, and kDLCUDAManaged.
constexpr bool needs_cuda(DLDeviceType type) noexcept {
  return type == kDLCUDA || type == kDLCUDAManaged;
}

}  // namespace dlpack_bridge
