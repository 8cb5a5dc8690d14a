#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include <dlpack/dlpack.h>

namespace dlpack_bridge {

/// A stream as DLPack numbers it, for one device type. Never made from a bare int or a null
/// pointer: 0 means different things to different libraries.
class stream_handle {
 public:
  /// No stream: host memory, or nobody knows.
  constexpr stream_handle() noexcept = default;

  stream_handle(int) = delete;
  stream_handle(std::nullptr_t) = delete;

  /// Reads a protocol number strictly (array API, `__dlpack__`): CUDA knows -1, 1, 2 and handles,
  /// 0 is ambiguous; ROCm knows -1, 0 and handles, 1 and 2 do not exist. Empty when the number is
  /// not allowed on the device type.
  static constexpr std::optional<stream_handle> from_protocol(DLDeviceType type,
                                                              std::int64_t number) noexcept {
    const bool rocm = type == kDLROCM;
    if (!rocm && type != kDLCUDA && type != kDLCUDAManaged) return std::nullopt;
    if (number < -1 || (rocm ? number == 1 || number == 2 : number == 0)) return std::nullopt;
    return stream_handle(number);
  }

  /// Reads a raw driver handle (`current_work_stream`, `__cuda_stream__`): NULL is the legacy
  /// default stream there, protocol number 1.
  static stream_handle from_native(const void* handle) noexcept {
    const auto number = reinterpret_cast<std::intptr_t>(handle);
    return stream_handle(number == 0 ? 1 : number);
  }

  /// CUDA's legacy default stream.
  static constexpr stream_handle legacy() noexcept { return stream_handle(std::int64_t{1}); }
  /// -1: whoever asks does the ordering.
  static constexpr stream_handle caller_orders() noexcept {
    return stream_handle(std::int64_t{-1});
  }

  constexpr bool known() const noexcept { return kept_ != 0; }
  constexpr bool no_sync() const noexcept { return *this == caller_orders(); }
  constexpr bool is_legacy() const noexcept { return *this == legacy(); }
  /// CUDA's per-thread default stream: another one on each thread.
  constexpr bool per_thread() const noexcept { return *this == stream_handle(std::int64_t{2}); }
  /// The number of the DLPack protocol; 0 when no stream is known.
  constexpr std::int64_t protocol() const noexcept { return known() ? kept_ ^ unknown : 0; }

  /// "the legacy default stream", "stream 0x5581e0", ...
  std::string name() const;

  friend constexpr bool operator==(stream_handle, stream_handle) noexcept = default;

 private:
  constexpr explicit stream_handle(std::int64_t number) noexcept : kept_(number ^ unknown) {}

  static constexpr std::int64_t unknown = INT64_MIN;  // neither a number nor an address
  std::int64_t kept_ = 0;  // so that nothing known is nothing but zeros: exchanges begin with that
};

}  // namespace dlpack_bridge
