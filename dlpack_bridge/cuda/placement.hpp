#pragma once

#include <cstdint>

#include <dlpack_bridge/cuda/driver.hpp>
#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/stream_facts.hpp>
#include <dlpack_bridge/stream_handle.hpp>

namespace dlpack_bridge::cuda {

/// A stream as the driver takes it, with the context in which its calls are made.
struct placed_stream {
  CUstream handle = nullptr;
  CUcontext context = nullptr;  ///< null: the device sleeps, so nothing is on the stream
  int device = -1;              ///< the one the stream belongs to

  friend bool operator==(const placed_stream&, const placed_stream&) = default;
};

/// The protocol's numbers are the driver's handles. Precondition: known and not -1.
CUstream native(stream_handle stream) noexcept;

/// True for the legacy and the per-thread stream, of which each device has its own.
bool is_default_stream(stream_handle stream) noexcept;

/// A number for the calling thread that no other thread of the process has had (the system gives
/// thread ids out again). Whose per-thread stream is meant is told by it.
std::uint64_t this_thread_number() noexcept;

/// Finds the context of a stream. `device` says whose default stream is meant, and what is current to
/// the calling thread in which of its contexts; a handle knows its own. So default streams are placed
/// before another context is made current. Does not synchronise, wakes no device, legal while
/// anything captures.
/// @throws cuda_error
placed_stream place(const driver_api& api, int device, stream_handle stream);

/// The same stream with a context, for those who put something on it: wakes a device that sleeps.
/// @throws cuda_error
placed_stream awake(const driver_api& api, placed_stream stream);

/// The same for a stream that was named before, when `home` was the context of its default streams;
/// null: the primary one.
placed_stream place_again(const driver_api& api, int device, stream_handle stream, CUcontext home);

/// What the driver says of a stream. Disturbs no capture.
stream_state state_of(const driver_api& api, const placed_stream& stream, stream_handle handle);

}  // namespace dlpack_bridge::cuda
