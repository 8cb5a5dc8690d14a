#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/stream_handle.hpp>

namespace dlpack_bridge::cuda {

class stream;

enum class stream_kind : std::uint8_t {
  legacy,      ///< the default stream that every blocking stream of the device is ordered with
  per_thread,  ///< the default stream of one host thread
  handle,      ///< a stream that somebody made
};

/// A class of streams: `get()` gives the `cudaStream_t`, or it converts to it (CUDA's own stream
/// classes, torch's `CUDAStream`, ...).
template <class Stream>
concept stream_object =
    std::is_class_v<Stream> && !std::same_as<Stream, stream_handle> && (requires(const Stream& s) {
      { s.get() } -> std::convertible_to<const void*>;
    } || std::convertible_to<const Stream&, const void*>);

/// A borrowed look at a CUDA stream: whoever made the stream keeps it alive. Copies freely. One of
/// kind `per_thread` means something on the thread that made it only.
class stream_ref {
 public:
  /// The stream of a protocol number on a device. A handle must be a living stream of that device.
  /// Does not synchronise.
  /// @throws cuda_error no driver, no such device
  /// @throws exchange_error `stream`: no stream (unknown, -1), or one of another device
  stream_ref(device where, stream_handle stream);

  /// The stream of a driver handle (`CUstream`, `cudaStream_t`); NULL is the legacy stream.
  stream_ref(device where, void* native) : stream_ref(where, stream_handle::from_native(native)) {}
  stream_ref(device where, std::nullptr_t) = delete;

  /// The stream of an object that knows its handle.
  template <stream_object Stream>
  stream_ref(device where, const Stream& stream) : stream_ref(where, handle_of(stream)) {}
  stream_ref(device where, stream&&) = delete;

  dlpack_bridge::device where() const noexcept { return where_; }
  stream_handle handle() const noexcept { return handle_; }
  stream_kind kind() const noexcept;
  /// The `CUstream`; the legacy and the per-thread stream are 1 and 2, never NULL.
  void* get() const noexcept;
  /// False for the per-thread stream of another thread than the one that asks.
  bool is_usable_here() const noexcept;
  /// What the driver numbers its streams with; never given twice in a process, unlike handles. 0
  /// for the default streams.
  std::uint64_t id() const noexcept { return id_; }

  /// The same stream. Two of equal handle are not when one was destroyed and the other made since.
  friend bool operator==(const stream_ref&, const stream_ref&) noexcept = default;

 private:
  template <class Stream>
  static stream_handle handle_of(const Stream& stream) {
    if constexpr (requires { stream.get(); }) return stream_handle::from_native(stream.get());
    else return stream_handle::from_native(static_cast<const void*>(stream));
  }

  dlpack_bridge::device where_;
  stream_handle handle_;
  std::uint64_t id_ = 0;      ///< of a handle
  std::uint64_t thread_ = 0;  ///< of the per-thread stream: see `this_thread_number`
};

}  // namespace dlpack_bridge::cuda
