#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <dlpack_bridge/cuda/event_pool.hpp>
#include <dlpack_bridge/device_backend.hpp>

namespace dlpack_bridge::cuda {

/// A stream of a device; of the per-thread stream, that of one thread.
struct stream_of_thread {
  stream_handle stream;
  int device = -1;
  std::uint64_t thread = 0;     ///< see `this_thread_number`; 0 for other streams
  CUcontext context = nullptr;  ///< of a default stream that is not of the primary context

  /// The stream as the calling thread means it.
  /// @throws cuda_error
  static stream_of_thread here(const driver_api& api, stream_handle stream, int device);
  /// The stream as the home of memory: a default stream is of the primary context.
  static stream_of_thread as_home(stream_handle stream, int device) noexcept {
    return {stream, device, stream.per_thread() ? this_thread_number() : 0};
  }
  friend bool operator==(const stream_of_thread&, const stream_of_thread&) = default;
};

/// A stream on which lent memory is used.
struct reader {
  stream_of_thread stream;
  owner stream_object;    ///< keeps the stream alive
  bool finished = false;  ///< nothing is left to do for it
  pooled_event done;      ///< recorded at the release, when the host has to ask
};

/// Memory that was lent, from `lend` until its release is through. Records are used again, with the
/// space of their vector: lending allocates nothing in the long run.
struct loan_record {
  owner memory;
  device where;
  stream_of_thread home;
  use_listener listener;
  std::vector<reader> readers;
  std::size_t position = 0;     ///< in the table of living loans
  loan_record* next = nullptr;  ///< in the free list, or among the pending
};

}  // namespace dlpack_bridge::cuda
