#pragma once

#include <cstdint>

#include <dlpack_bridge/cuda/stream_ref.hpp>
#include <dlpack_bridge/device_backend.hpp>
#include <dlpack_bridge/owner.hpp>
#include <dlpack_bridge/tensor_view.hpp>

namespace dlpack_bridge::cuda {

/// Declares that an array is used on `stream`, beside the streams the hub knows of: its memory does
/// not go back to its producer before the work that is on the stream when the array is dropped has
/// run. `keep` is what keeps the stream alive; it is kept until the memory has gone. False when the
/// hub lent no such memory. Does not synchronise. Any thread.
/// @throws std::bad_alloc
/// @throws exchange_error `stream`: the per-thread stream of another thread
bool record_use(const tensor_view& array, const stream_ref& stream, owner keep = {});
/// The same for whatever lies at an address.
bool record_use(device where, const void* address, stream_handle stream, owner keep);

/// Lets go of arrays that were dropped and whose readers are through by now; how many went. With
/// `wait` it blocks the host until all of them are, without those that a capture holds up, and
/// gives what memory the hub keeps for the next user back to the driver, which may end a capture on
/// the device; otherwise it does not synchronise. Any thread.
std::int64_t collect(bool wait = false);

/// An owner of `memory` that lets it go only when every use the hub knows of is ordered before any
/// reuse its producer can make. Neither this nor dropping the owner, on any thread, synchronises.
/// Without a driver there is nothing to order, and `memory` is returned as it is. `memory` has been
/// released after a throw.
/// @throws std::bad_alloc
owner lend(owner memory, loan terms);

/// Who runs a release that had to wait and fell due on the thread that looks after them; null: that
/// thread.
void set_release_runner(void (*run)(owner due) noexcept) noexcept;

}  // namespace dlpack_bridge::cuda
