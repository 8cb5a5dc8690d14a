#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/stream_handle.hpp>

namespace dlpack_bridge {

/// Whether a driver answers, and what it said when it does not. The texts are static.
struct driver_status {
  int code = 0;  ///< 0: it answers; else the CUresult of the call that failed, 100 without a driver
  const char* name = "CUDA_SUCCESS";  ///< of the code
  const char* text = "";              ///< what failed, for people

  constexpr bool answers() const noexcept { return code == 0; }
};

/// What is known of a driver that nobody asked.
inline constexpr driver_status no_driver{100, "CUDA_ERROR_NO_DEVICE", ""};

/// Whether work on a stream goes into a CUDA graph instead of to the device.
enum class capture_kind : std::uint8_t {
  none,
  active,    ///< the stream captures, for the graph of `capture_id`
  implicit,  ///< the legacy stream while a blocking stream captures: nothing may be put on it
};

/// What the driver says of one stream.
struct stream_state {
  stream_handle handle;        ///< unknown: nobody but its owner knows the stream
  std::int32_t device_id = 0;  ///< the device it belongs to, when `has_device`
  bool has_device = false;     ///< that was asked
  capture_kind capture = capture_kind::none;
  std::uint64_t capture_id = 0;

  /// Whether work on the stream goes into a graph.
  constexpr bool captures() const noexcept { return capture != capture_kind::none; }
  /// Whether it is a stream of another device, which orders nothing there. Managed memory is on every
  /// device.
  constexpr bool belongs_elsewhere(device where) const noexcept {
    return has_device && where.type == kDLCUDA && device_id != where.id;
  }
};

/// The streams of one exchange, gathered before the decision.
struct stream_facts {
  stream_state producer;  ///< what the array is ordered on; -1 when nothing is left to wait for
  stream_state consumer;  ///< where the result will be used; -1 when the caller orders
  /// Nobody but the producer knows which stream wrote: it orders its work itself when it is told the
  /// consumer's stream (`__dlpack__`), or did so when it made a capsule.
  bool producer_unknown = false;
};

/// What is known of no streams: nothing but zeros, which are written in a few stores where members
/// that are initialized one by one take three times as many, and every exchange begins with it.
constexpr stream_facts no_streams() noexcept {
  return std::bit_cast<stream_facts>(std::array<std::byte, sizeof(stream_facts)>{});
}

/// Whether one of two streams may be made to wait for the other: an edge between streams that capture
/// belongs to one graph, or breaks it.
constexpr bool may_order(const stream_state& a, const stream_state& b) noexcept {
  if (!a.captures() && !b.captures()) return true;
  return a.capture == capture_kind::active && b.capture == capture_kind::active &&
         a.capture_id == b.capture_id;
}

}  // namespace dlpack_bridge
