#pragma once

#include <cstdint>

#include <dlpack_bridge/copy.hpp>
#include <dlpack_bridge/device.hpp>
#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/stream_facts.hpp>

namespace dlpack_bridge {

/// Memory of a backend with what frees it. Freeing is ordered: see `device_backend::lend`.
struct backend_memory {
  void* data = nullptr;
  owner keep;
  stream_handle home;  ///< the stream whose order the freeing follows; unknown for the host
};

/// A copy between two places of which at least one needs the backend.
struct copy_job {
  const extent* shape = nullptr;
  std::int32_t ndim = 0;
  strided_memory from;
  strided_memory to;
  device from_device;
  device to_device;
  element_change change;
  stream_handle stream;  ///< a stream of the CUDA device that takes part (`to_device` when both do)
};

/// A producer that protects its memory itself once it is told who used it (torch's
/// `Tensor.record_stream`). `context` lives as long as the memory's owner.
struct use_listener {
  void* context = nullptr;
  /// Asked when the memory is given back, for each stream of use, right before the owner is dropped;
  /// on the releasing thread, without a lock. True when the producer took note and keeps the memory
  /// from reuse until the work that is on the stream by now has run. False: it cannot for this stream,
  /// on this thread, or while others hold the memory too.
  bool (*declare)(void* context, device where, stream_handle stream) noexcept = nullptr;
};

/// Device memory that goes to a user, with what is known of both sides.
struct loan {
  device where;
  const void* begin = nullptr;  ///< lowest address that the view reaches
  std::int64_t nbytes = 0;      ///< from there to the highest; 0 for no elements
  stream_handle user;           ///< where the user works; unknown or -1: nobody the hub knows of
  owner user_object;            ///< what keeps that stream alive, if somebody does
  stream_handle home;           ///< the stream whose order the memory's freeing follows, if known
  use_listener listener;
};

/// What the road needs from a kind of device. The core holds the host's; `cuda/` holds the other,
/// and the binary that links both hands it in. Functions that are not `noexcept` throw
/// `device_error` with the driver's code, before anything was changed.
///
/// A stream is a protocol number; 2, the per-thread stream, is that of the calling thread. No
/// function blocks the host but `wait`, `collect(true)`, and `copy` with host memory that is not
/// pinned. None takes or needs the GIL.
struct device_backend {
  driver_status (*status)() noexcept;
  /// Fills in the device a stream belongs to and whether it captures; without a stream it only tells
  /// whether the device exists. A few cheap driver calls; never disturbs a capture. `where` is a CUDA
  /// device (managed memory counts as its device). Says what failed instead of throwing.
  driver_status (*look_at)(device where, stream_state& stream) noexcept;
  /// The device and kind of memory behind an address: CUDA, managed or pinned; the CPU for memory
  /// that the driver does not know.
  device (*locate)(const void* address);
  /// Makes the device current for the calling thread until the owner is dropped, on the same thread:
  /// some producers work on the current device whatever their array is on.
  owner (*enter)(device where);
  /// The hub's own non-blocking stream of a device: the meeting point when nobody names one.
  stream_handle (*own_stream)(device where);
  /// Makes later work on `consumer` wait for all work that is on `producer` now: one event record
  /// and one wait; nothing when both are the same stream. The host does not wait. Precondition: the
  /// capture states allow it (`negotiate` has looked).
  void (*order)(device consumer_device, stream_handle consumer, device producer_device,
                stream_handle producer);
  /// Blocks the host until the work on the stream has run.
  void (*wait)(device where, stream_handle stream);
  /// At least one byte, its address a multiple of `alignment` (a power of two), usable in the order
  /// of `stream`: device memory, pinned memory (`kDLCUDAHost`) or managed memory. A device without
  /// memory is a `device_error` (CUDA_ERROR_OUT_OF_MEMORY) that names bytes and device.
  /// @throws std::bad_alloc when the host has none
  backend_memory (*allocate)(std::int64_t nbytes, std::int64_t alignment, device where,
                             stream_handle stream);
  /// Copies and converts in the order of `job.stream`. Returns true when the copy may still be
  /// running: the caller orders what comes after, and lends the source until then.
  bool (*copy)(const copy_job& job);
  /// Makes an owner that lets `memory` go only when every use the hub knows of is ordered before any
  /// reuse its producer can make. Never blocks when it is dropped, on any thread. After a throw
  /// `memory` has been released.
  owner (*lend)(owner memory, loan terms);
  /// Adds a use to every loan that the address lies in. False when there is none.
  bool (*record_use)(device where, const void* address, stream_handle stream, owner stream_object);
  /// Lets go of what is due; with `wait` blocks until all of it is. How many owners went.
  std::int64_t (*collect)(bool wait);
  /// Who runs a release that had to wait and fell due on a thread of the backend; null: that thread.
  void (*set_release_runner)(void (*run)(owner due) noexcept) noexcept;
};

/// Memory of malloc, copies of `copy.hpp`; streams mean nothing to it.
const device_backend& host_backend() noexcept;

/// The backend for CUDA devices; null in a build without one.
const device_backend* cuda_backend() noexcept;
/// Hands in the CUDA backend. Call once, before the first exchange.
void use_cuda_backend(const device_backend& backend) noexcept;

}  // namespace dlpack_bridge
