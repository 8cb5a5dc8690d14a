#pragma once

#include <utility>

#include <dlpack_bridge/cuda/stream_ref.hpp>
#include <dlpack_bridge/device.hpp>

namespace dlpack_bridge::cuda {

/// Owns a CUDA event without timing: a mark in a stream that other streams, and the host, can wait
/// for. Move-only. Dropping it never blocks, also while the mark has not been reached. Captures are
/// not looked at: `order_after` does.
class event {
 public:
  /// No event.
  event() noexcept = default;
  /// A new event of the device's primary context, which it wakes. Does not synchronise.
  /// @throws cuda_error
  explicit event(device where);

  event(event&& other) noexcept
      : where_(other.where_), handle_(std::exchange(other.handle_, nullptr)) {}
  event& operator=(event&& other) noexcept;
  event(const event&) = delete;
  event& operator=(const event&) = delete;
  ~event() { reset(); }

  // Precondition of the following: there is an event.

  /// Marks the work that is on `stream` now; replaces an earlier mark. The stream must be of the
  /// primary context of the event's device, not of a green one. Does not synchronise.
  /// @throws cuda_error
  void record(const stream_ref& stream);

  /// Makes later work on `consumer`, of any device, wait for the mark. Does not synchronise.
  /// @throws cuda_error
  void order_before(const stream_ref& consumer) const;

  /// Whether the mark was reached. Does not synchronise.
  /// @throws cuda_error also when the mark is part of a capture
  bool is_done() const;

  /// Blocks the host until the mark is reached.
  /// @throws cuda_error
  void wait() const;

  dlpack_bridge::device where() const noexcept { return where_; }
  /// The `CUevent`; null for no event.
  void* get() const noexcept { return handle_; }
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  void reset() noexcept;

 private:
  dlpack_bridge::device where_;
  void* handle_ = nullptr;
};

}  // namespace dlpack_bridge::cuda
