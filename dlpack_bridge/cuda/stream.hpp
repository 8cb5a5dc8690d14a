#pragma once

#include <utility>

#include <dlpack_bridge/cuda/event.hpp>
#include <dlpack_bridge/cuda/stream_ref.hpp>
#include <dlpack_bridge/device.hpp>

namespace dlpack_bridge::cuda {

/// Owns a CUDA stream that is not ordered with the legacy default stream ("non-blocking").
/// Move-only. Dropping it never blocks: work that is on it still runs.
class stream {
 public:
  /// No stream.
  stream() noexcept = default;
  /// A new stream of a device, which it wakes. Does not synchronise.
  /// @throws cuda_error
  explicit stream(device where);

  stream(stream&& other) noexcept
      : where_(other.where_), handle_(std::exchange(other.handle_, nullptr)) {}
  stream& operator=(stream&& other) noexcept;
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  ~stream() { reset(); }

  operator stream_ref() const& { return {where_, handle_}; }
  operator stream_ref() const&& = delete;

  /// Makes later work wait for the mark of `e`. Does not synchronise.
  /// @throws cuda_error
  void wait_for(const event& e) const& { e.order_before(*this); }

  /// Blocks the host until all work on the stream has run.
  /// @throws exchange_error `capture`: the stream captures
  /// @throws cuda_error
  void synchronize() const;

  dlpack_bridge::device where() const noexcept { return where_; }
  /// The `CUstream`; null for no stream.
  void* get() const noexcept { return handle_; }
  /// Its protocol number; unknown for no stream.
  stream_handle handle() const noexcept {
    return handle_ == nullptr ? stream_handle() : stream_handle::from_native(handle_);
  }
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  void reset() noexcept;

 private:
  dlpack_bridge::device where_;
  void* handle_ = nullptr;
};

/// The hub's own stream of a device, made when first asked for and kept to the end of the process.
/// Wakes the device. Does not synchronise.
/// @throws cuda_error
const stream& own_stream(device where);

}  // namespace dlpack_bridge::cuda
