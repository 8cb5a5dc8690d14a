#pragma once

#include <cstdint>

#include <dlpack_bridge/device_backend.hpp>

namespace dlpack_bridge::cuda {

/// See `device_backend::allocate`. Nothing here synchronises.
///
/// Device memory comes from the hub's pool of the device in the order of its home stream, and returns
/// to it in that order when the owner is dropped: at once where home was `stream`. Other devices
/// reach it where they can reach memory of this one at all. A stream that cannot be
/// named at the release (the per-thread stream, none at all, a stream of another device) is served
/// from the hub's own stream of the device, and waits for it.
/// Pinned and managed memory have no home: the owner must be dropped when no stream uses the memory
/// any more, and the next user gets it at once. The same memory is used again until `trim`.
/// On a capturing stream device memory is not part of the graph: it stays where it is until the
/// owner is dropped, and its home is the hub's own stream.
/// @throws cuda_error CUDA_ERROR_OUT_OF_MEMORY, which names bytes and device, also after everything
///   that was due was let go
/// @throws std::bad_alloc when the host has no memory
backend_memory allocate(std::int64_t nbytes, std::int64_t alignment, device where,
                        stream_handle stream);

/// See `device_backend::locate`. Pinned and registered memory are `kDLCUDAHost`.
/// @throws cuda_error
device locate(const void* address);

/// Keeps memory to the end of the process, since nobody knows who still uses it. Counts as leaked.
void abandon(owner memory) noexcept;

/// Gives memory back to its pool that a capture held up, or that fell due on a thread without
/// streams. Does not synchronise.
void release_held_memory() noexcept;

/// Does that, and gives memory that is kept for the next user back to the driver: device memory as far
/// as somebody has waited for its last use. May synchronise; a capture on the device may not survive
/// it.
void trim() noexcept;

}  // namespace dlpack_bridge::cuda
